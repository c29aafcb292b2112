// Staging memory is given out again while it is kept, and no more of it is kept than was said.
#include "worker/staging_pool.h"

#include <gtest/gtest.h>

#include "kernels/ops.h"

namespace ebb::worker {
namespace {

using kernels::MemoryKind;

constexpr uint64_t kBlock = 1 << 20;

class StagingPoolTest : public ::testing::Test {
 protected:
  kernels::Backend backend_ = std::move(*kernels::make_cpu_backend({}));
  Result<Staging> take(uint64_t bytes) { return pool_.take(bytes, MemoryKind::kHost); }
  StagingPool pool_{*backend_.device, 4 * kBlock};
};

TEST_F(StagingPoolTest, WhatIsGivenBackIsGivenOutAgain) {
  auto first = take(kBlock);
  ASSERT_TRUE(first);
  EXPECT_GE(first->buffer.size(), kBlock);
  void* const data = first->buffer.data();
  auto second = take(kBlock);
  EXPECT_NE(second->buffer.data(), data) << "two users of one memory";
  pool_.give_back(std::move(*first));
  auto again = take(kBlock - 100);
  EXPECT_EQ(again->buffer.data(), data);
  EXPECT_EQ(pool_.idle_bytes(), 0u);
}

TEST_F(StagingPoolTest, NoMoreIsKeptThanWasSaid) {
  std::vector<Staging> taken;
  for (int i = 0; i < 9; ++i) taken.push_back(std::move(*take(kBlock)));
  for (Staging& staging : taken) pool_.give_back(std::move(staging));
  EXPECT_LE(pool_.idle_bytes(), 4 * kBlock);
  EXPECT_GT(pool_.idle_bytes(), 0u);
  pool_.give_back(std::move(*take(5 * kBlock)));
  EXPECT_EQ(pool_.idle_bytes(), 0u) << "one alone is over the bound";
}

TEST_F(StagingPoolTest, ASmallRequestDoesNotTakeALargeBlock) {
  pool_.give_back(std::move(*take(4 * kBlock)));
  const auto small = take(100);
  EXPECT_LT(small->buffer.size(), kBlock);
  EXPECT_EQ(pool_.idle_bytes(), 4 * kBlock);
}

TEST_F(StagingPoolTest, NoMemoryIsAnErrorThatSaysWhatItIsFor) {
  const auto never = take(uint64_t{1} << 60);
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().code, Code::kExhausted);
  EXPECT_NE(never.error().message.find("KV records"), std::string::npos) << never.error().text();
}

TEST_F(StagingPoolTest, MemoryOfOneKindIsNotGivenOutAsTheOther) {
  auto host = pool_.take(kBlock, MemoryKind::kHost);
  auto device = pool_.take(kBlock, MemoryKind::kDevice);
  EXPECT_EQ(host->kind, MemoryKind::kHost);
  EXPECT_EQ(device->kind, MemoryKind::kDevice);
  void* const data = device->buffer.data();
  pool_.give_back(std::move(*host));
  pool_.give_back(std::move(*device));
  const auto again = pool_.take(kBlock, MemoryKind::kDevice);
  EXPECT_EQ(again->kind, MemoryKind::kDevice);
  EXPECT_EQ(again->buffer.data(), data);
}

/// A device on which nothing has room.
class FullDevice final : public kernels::Device {
 public:
  explicit FullDevice(kernels::Device& host) : host_(host) {}
  kernels::DeviceInfo info() const override { return {}; }
  Result<kernels::Buffer> allocate(size_t bytes, MemoryKind kind) override {
    if (kind == MemoryKind::kDevice) return exhausted("full");
    return host_.allocate(bytes, kind);
  }
  void copy_to_device(void*, const void*, size_t) override {}
  void copy_to_host(void*, const void*, size_t) override {}
  void copy_on_device(void*, const void*, size_t) override {}
  Result<void> synchronize() override { return {}; }

 private:
  kernels::Device& host_;
};

TEST_F(StagingPoolTest, WhatAFullDeviceHasNoRoomForLiesInTheHostsMemory) {
  FullDevice full(*backend_.device);
  StagingPool pool(full, 4 * kBlock);
  auto staging = pool.take(kBlock, MemoryKind::kDevice);
  ASSERT_TRUE(staging);
  EXPECT_EQ(staging->kind, MemoryKind::kHost);
  pool.give_back(std::move(*staging));
  EXPECT_EQ(pool.take(kBlock, MemoryKind::kDevice)->kind, MemoryKind::kHost);
}

}  // namespace
}  // namespace ebb::worker
