// The way that records take over the bus depends on how much they are, and on nothing else.
#include "kernels/cuda/record_shapes.h"

#include <gtest/gtest.h>

namespace ebb::kernels::cuda {
namespace {

TEST(RecordShapes, SmallOnesAreMovedByTheKernelAndLargeOnesByTheCopyEngine) {
  EXPECT_EQ(record_way(0), RecordWay::kDirect);
  EXPECT_EQ(record_way(4 << 10), RecordWay::kDirect);
  EXPECT_EQ(record_way(64 << 20), RecordWay::kStaged);
}

TEST(RecordShapes, MoreNeverGoesBackToTheWayOfLess) {
  bool staged = false;
  for (uint64_t bytes = 1; bytes < (uint64_t{1} << 40); bytes *= 2) {
    const bool now = record_way(bytes) == RecordWay::kStaged;
    EXPECT_TRUE(now || !staged) << bytes;
    staged = now;
  }
}

}  // namespace
}  // namespace ebb::kernels::cuda
