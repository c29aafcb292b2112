// Distinct types for numbers that must not be swapped, and half-open ranges.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace ebb {

template <class Tag, class Rep>
struct Id {
  using rep = Rep;
  Rep value{};
  friend auto operator<=>(const Id&, const Id&) = default;
};

/// Minted and persisted by the coordinator; never used twice.
using SeqId = Id<struct SeqTag, uint64_t>;
/// Fencing number of one incarnation of a group; minted and persisted by the coordinator; grows.
using Epoch = Id<struct EpochTag, uint64_t>;
/// Numbers the units of work of one epoch, in the coordinator's order.
using UnitId = Id<struct UnitTag, uint64_t>;

using TokenId = int32_t;
/// Position of a token in its sequence.
using Position = uint32_t;

/// Half-open range of token positions.
struct TokenRange {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t size() const { return end - begin; }
  friend bool operator==(const TokenRange&, const TokenRange&) = default;
};

/// Half-open range of layers.
struct LayerRange {
  uint16_t begin = 0;
  uint16_t end = 0;
  uint16_t size() const { return static_cast<uint16_t>(end - begin); }
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

/// Half-open range of attention heads.
struct HeadRange {
  uint16_t begin = 0;
  uint16_t end = 0;
  uint16_t size() const { return static_cast<uint16_t>(end - begin); }
  friend bool operator==(const HeadRange&, const HeadRange&) = default;
};

/// A 128-bit name made by a cryptographic hash (SHA-256, cut).
struct Digest {
  std::array<uint8_t, 16> bytes{};
  friend auto operator<=>(const Digest&, const Digest&) = default;
};

}  // namespace ebb

template <class Tag, class Rep>
struct std::hash<ebb::Id<Tag, Rep>> {
  size_t operator()(const ebb::Id<Tag, Rep>& id) const { return std::hash<Rep>{}(id.value); }
};
template <>
struct std::hash<ebb::Digest> {
  size_t operator()(const ebb::Digest& d) const {
    size_t h = 0;
    for (size_t i = 0; i < sizeof h; ++i) h |= size_t{d.bytes[i]} << (8 * i);
    return h;
  }
};
