// Digests: a copy of K of every token in 2 to 4 bits an element, small enough to stay on the device
// and to be read whole at every step; only selection reads it. The layout of its bytes, nothing
// else: the per-ISA kernels include this file. (Why this layout: docs/decisions/009.)
//
// What is coded, per token and KV head, is the stored K (kInt4), or the stored K minus a centre of
// that head, rotated (kH3, kH2). x of head_size elements becomes
//   scale f16, zero f16, codes:   x[j] ~ zero + scale * c[j],   c[j] in [0, 2^bits)
// zero is the smallest element, scale the span / (2^bits - 1), both rounded to f16 (nearest even,
// at most 65504 in size); c[j] = round((x[j] - zero) / scale) by these rounded two, clamped; 0
// where scale is 0. Elements come in units of 32; a last unit is padded with codes 0. Element j of
// a unit:
//   4 bits: byte j % 16 of the unit's 16, low nibble for j < 16, else high
//   2 bits: byte j % 8 of the unit's 8, bits 2 (j / 8) and up
//   1 bit:  byte j % 4 of the unit's 4, bit j / 4
// kInt4 has 4 bits; kH2 has 2; kH3 has 2 for the code's upper two, for all units, and behind them 1
// for its lowest, for all units. Digests of a token's heads follow each other. Little endian.
//
// The rotation: element j changes its sign where bit j % 64 of kDigestSigns[j / 64] is set; then,
// in every run of n elements, n the largest power of two that divides head_size (64: one of 64; 80:
// five of 16; 96: three of 32), x = H x / sqrt(n), H[i][j] = (-1)^popcount(i & j). It is
// orthogonal: the query turned alike has the same products with rotated keys as before. Over one
// large run it spreads an element that stands out over all; over short runs less so.
#pragma once

#include <cstdint>

namespace ebb::kernels {

enum class DigestFormat : uint8_t { kInt4, kH3, kH2 };

/// Elements of a unit.
constexpr uint32_t kDigestUnit = 32;
/// Outputs 0 to 3 of SplitMix64 (Steele, Lea, Flood 2014) from state 0.
constexpr uint64_t kDigestSigns[4] = {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f,
                                      0xf88bb8a8724c81ec};

/// What one token's digest is, in one layer, for one rank's KV heads.
struct DigestShape {
  DigestFormat format = DigestFormat::kH3;
  uint32_t heads_kv = 0;   ///< of this rank
  uint32_t head_size = 0;  ///< any that KvShape takes
  uint32_t units() const { return (head_size + kDigestUnit - 1) / kDigestUnit; }
  /// 64 elements: 36, 28, 20.
  uint32_t head_bytes() const {
    const uint32_t bits = format == DigestFormat::kInt4 ? 4 : format == DigestFormat::kH3 ? 3 : 2;
    return 4 + units() * (kDigestUnit / 8) * bits;
  }
  uint32_t token_bytes() const { return heads_kv * head_bytes(); }
  /// Tokens in one arena block; 0 where the block is too small for any: not to be used then.
  uint32_t page_tokens(uint64_t block_bytes) const {
    return static_cast<uint32_t>(block_bytes / token_bytes());
  }
};

}  // namespace ebb::kernels
