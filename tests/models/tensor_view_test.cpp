// Names and block sizes of weight types: those of the ggml formats.
#include "models/tensor_view.h"

#include <gtest/gtest.h>

#include <string>

namespace ebb::models {
namespace {

struct Known {
  WeightType type;
  const char* name;
  double bits;  ///< per element, as the formats are described
};

TEST(WeightType, BlocksTakeTheBitsThatTheFormatsAreKnownFor) {
  const Known all[] = {
      {WeightType::kF32, "F32", 32},       {WeightType::kF16, "F16", 16},
      {WeightType::kBF16, "BF16", 16},     {WeightType::kQ8_0, "Q8_0", 8.5},
      {WeightType::kQ4_0, "Q4_0", 4.5},    {WeightType::kQ4_1, "Q4_1", 5},
      {WeightType::kQ5_0, "Q5_0", 5.5},    {WeightType::kQ5_1, "Q5_1", 6},
      {WeightType::kQ2_K, "Q2_K", 2.625},  {WeightType::kQ3_K, "Q3_K", 3.4375},
      {WeightType::kQ4_K, "Q4_K", 4.5},    {WeightType::kQ5_K, "Q5_K", 5.5},
      {WeightType::kQ6_K, "Q6_K", 6.5625}, {WeightType::kIQ4_NL, "IQ4_NL", 4.5},
  };
  EXPECT_EQ(std::size(all), kWeightTypes);
  for (const Known& known : all) {
    EXPECT_STREQ(weight_type_name(known.type), known.name);
    EXPECT_EQ(8.0 * block_bytes(known.type) / block_elements(known.type), known.bits) << known.name;
  }
}

}  // namespace
}  // namespace ebb::models
