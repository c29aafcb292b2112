// Names and shapes of what the store keeps. The store knows bytes: a layout id and byte counts, not
// heads or models.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/ids.h"

namespace ebb::kvstore {

/// Names one granule of one band for one range of KV heads. Content keys come from token ids (exact
/// KV, shared); private keys from sequence, position and epoch (polluted or mixed KV, never
/// shared).
struct GranuleKey {
  Digest digest;
  uint16_t band = 0;
  uint16_t head_begin = 0;
  uint16_t head_end = 0;
  uint16_t kind = 0;  ///< 0 content, 1 private
  friend auto operator<=>(const GranuleKey&, const GranuleKey&) = default;
};
static_assert(sizeof(GranuleKey) == 24);

std::string to_text(const GranuleKey& key);  ///< "c3f9...:b7:h0-2"

/// digest of granule g = H(layout, salt, digest of granule g - 1 (zero for the first), token ids).
/// Pure.
Digest content_digest(const Digest& layout, std::string_view salt, const Digest& parent,
                      std::span<const TokenId> tokens);
/// H(layout, sequence, first position, epoch).
Digest private_digest(const Digest& layout, SeqId sequence, Position first, Epoch epoch);

/// What precedes every record's payload, on the wire and in every tier (little-endian,
/// docs/formats.md).
struct RecordHead {
  uint32_t crc = 0;       ///< CRC-32C over payload, key (24 bytes), position (4 bytes)
  Position position = 0;  ///< absolute position of the token
};
static_assert(sizeof(RecordHead) == 8);

uint32_t record_crc(std::span<const std::byte> payload, const GranuleKey& key, Position position);

/// Bytes of a framed record: head + payload.
constexpr uint64_t framed_bytes(uint64_t payload_bytes) {
  return sizeof(RecordHead) + payload_bytes;
}
/// Fills `frame` (framed_bytes(payload)) whose payload part is already in place.
void seal_record(std::span<std::byte> frame, const GranuleKey& key, Position position);
/// True when head and payload agree with key and position.
bool verify_record(std::span<const std::byte> frame, const GranuleKey& key, Position position);

/// A granule's description; its body is `records` frames of equal size, ascending positions from
/// `first`.
struct GranuleInfo {
  GranuleKey key;
  Position first = 0;
  uint16_t records = 0;        ///< at most 32
  uint32_t payload_bytes = 0;  ///< of one record
  uint64_t body_bytes() const { return records * framed_bytes(payload_bytes); }
};

enum class TierKind : uint8_t { kNone, kHost, kSsd };
const char* tier_name(TierKind tier);

}  // namespace ebb::kvstore

template <>
struct std::hash<ebb::kvstore::GranuleKey> {
  size_t operator()(const ebb::kvstore::GranuleKey& k) const {
    return std::hash<ebb::Digest>{}(k.digest) ^ (size_t{k.band} << 48) ^
           (size_t{k.head_begin} << 32) ^ (size_t{k.kind} << 20);
  }
};
