#include "worker/group_collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::worker {
namespace {

using ::testing::HasSubstr;

kernels::DeviceInfo gpu(const std::string& identity) {
  kernels::DeviceInfo info;
  info.name = "cuda 0 (emulated)";
  info.identity = identity;
  return info;
}

TEST(GroupCollective, NcclNeedsAGpuToEachRankAndTheLibraryEverywhere) {
  const std::string a = collective_offer(gpu("aa"), ""), b = collective_offer(gpu("bb"), "");
  EXPECT_EQ(why_no_nccl({a, b}), "");
  EXPECT_THAT(why_no_nccl({a, a}), HasSubstr("rank 1 shares its GPU"));
  EXPECT_EQ(why_no_nccl({a, collective_offer(gpu("bb"), "no libnccl.so.2")}),
            "rank 1: no libnccl.so.2");
  kernels::DeviceInfo cpu;
  cpu.name = "cpu avx2";
  EXPECT_THAT(why_no_nccl({collective_offer(cpu, ""), b}), HasSubstr("rank 0: the device is cpu"));
  EXPECT_NE(why_no_nccl({a, "nonsense"}), "");
}

}  // namespace
}  // namespace ebb::worker
