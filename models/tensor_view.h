// How a model file stores weights, and one tensor of it as a view into the mapping. Knows no file
// format and no transformer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ebb::models {

/// Storage types of weights. The block formats are ggml's; a block is one group of consecutive
/// elements of a row with its own scale.
enum class WeightType : uint8_t {
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
constexpr uint32_t kWeightTypes = 14;

/// As ggml spells it: "Q4_K".
const char* weight_type_name(WeightType type);
/// Elements of one block: 1 for floats, 32 for the plain quantised types and IQ4_NL, 256 for the K
/// types.
uint32_t block_elements(WeightType type);
/// Bytes of one block, scales included.
uint32_t block_bytes(WeightType type);

/// One tensor, as a row-major matrix view into the mapping: `rows` rows of `columns` contiguous
/// elements. Vectors have rows = 1.
struct TensorView {
  std::string_view name;  ///< in the file
  WeightType type = WeightType::kF32;
  uint64_t rows = 0;
  uint64_t columns = 0;
  const std::byte* data = nullptr;  ///< owned by the file's mapping
  uint64_t bytes = 0;
};

}  // namespace ebb::models
