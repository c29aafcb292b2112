// Staging memory is given out again while it is kept, and no more of it is kept than was said.
#include "worker/staging_pool.h"

#include <gtest/gtest.h>

#include "kernels/ops.h"

namespace ebb::worker {
namespace {

constexpr uint64_t kBlock = 1 << 20;

class StagingPoolTest : public ::testing::Test {
 protected:
  kernels::Backend backend_ = std::move(*kernels::make_cpu_backend({}));
  StagingPool pool_{*backend_.device, 4 * kBlock};
};

TEST_F(StagingPoolTest, WhatIsGivenBackIsGivenOutAgain) {
  auto first = pool_.take(kBlock);
  ASSERT_TRUE(first);
  EXPECT_GE(first->size(), kBlock);
  void* const data = first->data();
  auto second = pool_.take(kBlock);
  EXPECT_NE(second->data(), data) << "two users of one memory";
  pool_.give_back(std::move(*first));
  auto again = pool_.take(kBlock - 100);
  EXPECT_EQ(again->data(), data);
  EXPECT_EQ(pool_.idle_bytes(), 0u);
}

TEST_F(StagingPoolTest, NoMoreIsKeptThanWasSaid) {
  std::vector<kernels::Buffer> taken;
  for (int i = 0; i < 9; ++i) taken.push_back(std::move(*pool_.take(kBlock)));
  for (kernels::Buffer& buffer : taken) pool_.give_back(std::move(buffer));
  EXPECT_LE(pool_.idle_bytes(), 4 * kBlock);
  EXPECT_GT(pool_.idle_bytes(), 0u);
  pool_.give_back(std::move(*pool_.take(5 * kBlock)));
  EXPECT_EQ(pool_.idle_bytes(), 0u) << "one alone is over the bound";
}

TEST_F(StagingPoolTest, ASmallRequestDoesNotTakeALargeBlock) {
  pool_.give_back(std::move(*pool_.take(4 * kBlock)));
  const auto small = pool_.take(100);
  EXPECT_LT(small->size(), kBlock);
  EXPECT_EQ(pool_.idle_bytes(), 4 * kBlock);
}

TEST_F(StagingPoolTest, NoMemoryIsAnErrorThatSaysWhatItIsFor) {
  const auto never = pool_.take(uint64_t{1} << 60);
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().code, Code::kExhausted);
  EXPECT_NE(never.error().message.find("KV records"), std::string::npos) << never.error().text();
}

}  // namespace
}  // namespace ebb::worker
