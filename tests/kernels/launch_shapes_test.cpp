#include "kernels/cuda/launch_shapes.h"

#include <gtest/gtest.h>

namespace ebb::kernels::cuda {
namespace {

TEST(LaunchShapes, AFlatGridIsNeverEmptyAndNeverMoreThanEightFillsOfTheDevice) {
  for (const uint32_t multiprocessors : {1u, 4u, 132u}) {
    for (const uint64_t elements : {uint64_t{0}, uint64_t{1}, uint64_t{257}, uint64_t{1} << 40}) {
      const FlatShape shape = flat_shape(elements, multiprocessors);
      EXPECT_GE(shape.blocks, 1u) << elements;
      EXPECT_LE(shape.threads, 1024u);
      // A multiprocessor has room for 2048 threads.
      const uint64_t fills = uint64_t{8} * multiprocessors * (2048 / shape.threads);
      EXPECT_LE(shape.blocks, fills) << elements << " on " << multiprocessors;
    }
  }
  EXPECT_EQ(flat_shape(1, 132).blocks, 1u);
  EXPECT_GT(flat_shape(1 << 20, 132).blocks, 1u);
}

}  // namespace
}  // namespace ebb::kernels::cuda
