#include "models/tensor_view.h"

#include <array>

namespace ebb::models {
namespace {

struct TypeInfo {
  WeightType type;
  const char* name;
  uint32_t elements;
  uint32_t bytes;
};

/// Bytes as the sum of a block's parts: scales and minima (f16 unless said otherwise), then the
/// quantised elements with their high bits.
constexpr std::array<TypeInfo, kWeightTypes> kTypes = {{
    {WeightType::kF32, "F32", 1, 4},
    {WeightType::kF16, "F16", 1, 2},
    {WeightType::kBF16, "BF16", 1, 2},
    {WeightType::kQ8_0, "Q8_0", 32, 2 + 32},
    {WeightType::kQ4_0, "Q4_0", 32, 2 + 16},
    {WeightType::kQ4_1, "Q4_1", 32, 4 + 16},
    {WeightType::kQ5_0, "Q5_0", 32, 2 + 4 + 16},
    {WeightType::kQ5_1, "Q5_1", 32, 4 + 4 + 16},
    {WeightType::kQ2_K, "Q2_K", 256, 16 + 64 + 4},        // 16 x (4-bit scale, 4-bit minimum)
    {WeightType::kQ3_K, "Q3_K", 256, 32 + 64 + 12 + 2},   // 16 x 6-bit scale
    {WeightType::kQ4_K, "Q4_K", 256, 4 + 12 + 128},       // 8 x (6-bit scale, 6-bit minimum)
    {WeightType::kQ5_K, "Q5_K", 256, 4 + 12 + 32 + 128},  // the same
    {WeightType::kQ6_K, "Q6_K", 256, 128 + 64 + 16 + 2},  // 16 x 8-bit scale
    {WeightType::kIQ4_NL, "IQ4_NL", 32, 2 + 16},
}};

constexpr bool in_order() {
  for (uint32_t i = 0; i < kWeightTypes; ++i)
    if (static_cast<uint32_t>(kTypes[i].type) != i) return false;
  return true;
}
static_assert(in_order(), "kTypes is indexed by the type");

const TypeInfo& info(WeightType type) { return kTypes[static_cast<uint32_t>(type)]; }

}  // namespace

const char* weight_type_name(WeightType type) { return info(type).name; }
uint32_t block_elements(WeightType type) { return info(type).elements; }
uint32_t block_bytes(WeightType type) { return info(type).bytes; }

}  // namespace ebb::models
