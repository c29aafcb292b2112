// The way that records take depends on where they lie and how much they are, and on nothing else.
#include "kernels/cuda/record_shapes.h"

#include <gtest/gtest.h>

namespace ebb::kernels::cuda {
namespace {

constexpr MemoryKind kHost = MemoryKind::kHost;

TEST(RecordShapes, SmallOnesAreMovedByTheKernelAndLargeOnesByTheCopyEngine) {
  EXPECT_EQ(record_way(0, kHost), RecordWay::kDirect);
  EXPECT_EQ(record_way(4 << 10, kHost), RecordWay::kDirect);
  EXPECT_EQ(record_way(64 << 20, kHost), RecordWay::kStaged);
}

TEST(RecordShapes, MoreNeverGoesBackToTheWayOfLess) {
  bool staged = false;
  for (uint64_t bytes = 1; bytes < (uint64_t{1} << 40); bytes *= 2) {
    const bool now = record_way(bytes, kHost) == RecordWay::kStaged;
    EXPECT_TRUE(now || !staged) << bytes;
    staged = now;
  }
}

TEST(RecordShapes, WhatLiesOnTheDeviceDoesNotCrossTheBus) {
  for (uint64_t bytes = 1; bytes < (uint64_t{1} << 40); bytes *= 2) {
    EXPECT_EQ(record_way(bytes, MemoryKind::kDevice), RecordWay::kLocal) << bytes;
  }
}

}  // namespace
}  // namespace ebb::kernels::cuda
