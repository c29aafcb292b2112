// Storage formats of weight matrices: names and block sizes, nothing else. The per-ISA kernels
// include this file, so it must not pull in anything of the standard library that has code.
#pragma once

#include <cstdint>

namespace ebb::kernels {

/// Storage of a weight matrix in a model file; the block formats are those of models/gguf.h, by the
/// same names.
enum class WeightFormat : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

struct WeightBlock {
  uint32_t elements;
  uint32_t bytes;
};

/// Q8_0: f16 scale, 32 x i8. Q4_0: f16 scale, 16 bytes. Q4_1: f16 scale, f16 minimum, 16 bytes.
/// Byte j of a 4-bit block holds element j in its low and element j + 16 in its high nibble.
constexpr WeightBlock weight_block(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return {1, 4};
    case WeightFormat::kF16:
      return {1, 2};
    case WeightFormat::kBF16:
      return {1, 2};
    case WeightFormat::kQ8_0:
      return {32, 34};
    case WeightFormat::kQ4_0:
      return {32, 18};
    case WeightFormat::kQ4_1:
      return {32, 20};
  }
  return {0, 0};
}

/// Bytes of `columns` elements, which must be whole blocks.
constexpr uint64_t weight_row_bytes(WeightFormat format, uint64_t columns) {
  const WeightBlock block = weight_block(format);
  return columns / block.elements * block.bytes;
}

}  // namespace ebb::kernels
