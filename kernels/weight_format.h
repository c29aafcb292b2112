// Storage formats of weight matrices: names, sizes and layouts of their blocks, nothing else. The
// per-ISA kernels include this file, so it must not pull in anything of the standard library that
// has code.
//
// The block formats are those of GGUF files (ggml's, by the same names). In all of them d is a
// scale and m a minimum, both binary16, little endian; q is an unsigned field, and a value is
//   Q8_0    d q                 q signed byte           d, q[32]
//   Q4_0    d (q - 8)           4 bits                  d, nibbles[16]
//   Q4_1    d q + m             4 bits                  d, m, nibbles[16]
//   Q5_0    d (q - 16)          4 + 1 bits              d, fifth[4], nibbles[16]
//   Q5_1    d q + m             4 + 1 bits              d, m, fifth[4], nibbles[16]
//   IQ4_NL  d kIq4Values[q]     4 bits                  d, nibbles[16]
//   Q2_K    (d s) q - (m t)     2 bits; s, t 4 bits     scales[16], pairs[64], d, m
//   Q3_K    (d (s - 32)) (q-4)  2 + 1 bits; s 6 bits    third[32], pairs[64], scales[12], d
//   Q4_K    (d s) q - (m t)     4 bits; s, t 6 bits     d, m, scales[12], nibbles[128]
//   Q5_K    (d s) q - (m t)     4 + 1 bits; s, t 6 bits d, m, scales[12], fifth[32], nibbles[128]
//   Q6_K    (d s) (q - 32)      4 + 2 bits; s signed    nibbles[128], upper[64], scales[16], d
// with the products in parentheses formed (and rounded) first. s and t belong to a run of 16
// elements in Q2_K, Q3_K and Q6_K, of 32 in Q4_K and Q5_K.
//
// Where element e of a block of 32 stands: byte e % 16, low nibble for e < 16, else high; its fifth
// bit is bit e. Of a block of 256:
//   Q4_K, Q5_K: byte 32 (e / 64) + e % 32, low nibble for e % 64 < 32; fifth: byte e % 32, bit e /
//   32 Q2_K, Q3_K: byte 32 (e / 128) + e % 32, bits 2 (e % 128 / 32) and up; third: byte e % 32,
//   bit
//               e / 32
//   Q6_K: byte 64 (e / 128) + e % 64, low nibble for e % 128 < 64; upper: byte 32 (e / 128) + e %
//   32,
//         bits 2 (e % 128 / 32) and up
// Scales of Q2_K: byte of run r: s low, t high nibble. Of Q4_K and Q5_K: for r < 4, s_r and t_r are
// the low six bits of bytes r and r + 4; for r >= 4 their low nibbles are byte r + 4's low and
// high, their upper two bits the top of bytes r - 4 and r. Of Q3_K: the low nibble of s_r is byte r
// % 8's low (r < 8) or high one, its upper two bits are bits 2 (r / 4) and up of byte 8 + r % 4.
#pragma once

#include <cstdint>

namespace ebb::kernels {

enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL
};
constexpr uint32_t kWeightFormats = 14;

/// What a code of IQ4_NL stands for.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

struct WeightBlock {
  const char* name;
  uint32_t elements;
  uint32_t bytes;
};

/// By the number of the format.
constexpr WeightBlock kWeightBlocks[kWeightFormats] = {
    {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},     {"Q8_0", 32, 34},
    {"Q4_0", 32, 18},   {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},
    {"Q2_K", 256, 84},  {"Q3_K", 256, 110}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176},
    {"Q6_K", 256, 210}, {"IQ4_NL", 32, 18},
};

/// A format beyond the known ones has blocks of no elements.
constexpr WeightBlock weight_block(WeightFormat format) {
  const auto index = static_cast<uint32_t>(format);
  return index < kWeightFormats ? kWeightBlocks[index] : WeightBlock{"unknown", 0, 0};
}

/// Bytes of `columns` elements, which must be whole blocks.
constexpr uint64_t weight_row_bytes(WeightFormat format, uint64_t columns) {
  const WeightBlock block = weight_block(format);
  return columns / block.elements * block.bytes;
}

}  // namespace ebb::kernels
