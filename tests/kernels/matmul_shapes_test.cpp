// How products are cut up: for every shape, also those that no model has.
#include "kernels/cuda/matmul_shapes.h"

#include <gtest/gtest.h>

namespace ebb::kernels::cuda {
namespace {

constexpr uint64_t kSizes[] = {0, 1, 7, 32, 576, 4096, 14336, 128256, 1u << 24};

TEST(MatmulShapes, RowsOnTheDeviceBeginAtMultiplesOf32AndAreNotMuchLonger) {
  for (uint32_t f = 0; f < kWeightFormats; ++f) {
    const auto format = static_cast<WeightFormat>(f);
    for (const uint64_t blocks : {1, 2, 3, 16, 56}) {
      const uint64_t columns = blocks * weight_block(format).elements;
      const uint64_t bytes = weight_row_bytes(format, columns);
      EXPECT_EQ(weight_pitch(format, columns) % 32, 0u);
      EXPECT_GE(weight_pitch(format, columns), bytes);
      EXPECT_LT(weight_pitch(format, columns), bytes + 32);
    }
  }
}

TEST(MatmulShapes, WarpsShareAnOutputOnlyWhereThereIsWorkForThemAndTooFewOutputs) {
  for (const uint64_t outputs : kSizes) {
    for (const uint64_t columns : kSizes) {
      for (const uint32_t multiprocessors : {0u, 1u, 4u, 132u}) {
        const uint32_t warps = few_warps_per_output(outputs, columns, multiprocessors);
        EXPECT_TRUE(warps == 1 || warps == 2 || warps == 4) << outputs << " " << columns;
        EXPECT_TRUE(warps == 1 || columns >= warps * 256) << "a warp without a unit to a lane";
      }
    }
  }
  EXPECT_EQ(few_warps_per_output(1024, 4096, 132), 4u) << "k and v of an 8B model";
  EXPECT_EQ(few_warps_per_output(28672, 4096, 132), 1u);
}

TEST(MatmulShapes, BlocksCoverEveryOutput) {
  for (const uint64_t outputs : kSizes) {
    for (const uint32_t rows : {1u, 2u, 4u, 8u}) {
      for (const uint32_t warps : {1u, 2u, 4u}) {
        const uint32_t each = few_outputs_per_warp(rows);
        const uint64_t blocks = few_blocks(outputs, each, warps);
        EXPECT_GE(blocks, 1u);
        EXPECT_GE(blocks * (kFewWarps / warps) * each, outputs);
        EXPECT_LE(each * rows, 32u) << "one lane writes one result";
      }
    }
  }
}

TEST(MatmulShapes, RoutesKeepTheFirstEightRowsTogether) {
  for (const bool direct : {false, true}) {
    for (const bool tensor : {false, true}) {
      for (uint32_t rows = 0; rows <= kFewRows; ++rows) {
        EXPECT_EQ(product_route(rows, direct, tensor), Route::kFew);
      }
      EXPECT_EQ(product_route(1'000'000, direct, tensor), Route::kGemm);
    }
  }
  EXPECT_EQ(product_route(16, true, false), Route::kGemm);
  EXPECT_EQ(product_route(16, false, true), Route::kTensor);
  EXPECT_EQ(product_route(16, false, false), Route::kFew);
  EXPECT_EQ(product_route(33, false, false), Route::kGemm);
}

TEST(MatmulShapes, PanelsStayBelow32MiBAndAreNeverEmpty) {
  for (const uint64_t outputs : kSizes) {
    for (const uint64_t columns : kSizes) {
      for (const uint32_t element : {2u, 4u}) {
        const uint64_t panel = panel_outputs(outputs, columns, element);
        EXPECT_GE(panel, 1u);
        EXPECT_LE(panel, outputs == 0 ? 1 : outputs);
        EXPECT_TRUE(panel == 1 || panel * columns * element <= uint64_t{32} << 20);
      }
    }
  }
}

}  // namespace
}  // namespace ebb::kernels::cuda
