#include <gtest/gtest.h>

#include <cstdint>

#include "kernels/ops.h"

namespace ebb::kernels {
namespace {

TEST(CpuBackend, UnknownIsaNamesTheKnownOnes) {
  const auto backend = make_cpu_backend({1, 1, "mmx"});
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().code, Code::kUnsupported);
  EXPECT_NE(backend.error().message.find("mmx"), std::string::npos);
  EXPECT_NE(backend.error().message.find("x86-64-v2, avx2, avx512"), std::string::npos);
}

TEST(CpuBackend, ZeroThreadsAreRefused) {
  EXPECT_EQ(make_cpu_backend({0, 1, ""}).error().code, Code::kInvalid);
  EXPECT_EQ(make_cpu_backend({1, 0, ""}).error().code, Code::kInvalid);
}

TEST(CpuBackend, SaysWhatItRunsOn) {
  auto backend = make_cpu_backend({1, 1, "x86-64-v2"});
  ASSERT_TRUE(backend) << backend.error().text();
  const DeviceInfo info = backend->device->info();
  EXPECT_EQ(info.isa, "x86-64-v2");
  EXPECT_NE(info.name.find("cpu x86-64-v2 ("), std::string::npos);
  EXPECT_GT(info.memory_bytes, uint64_t{1} << 28);
}

TEST(CpuBackend, MemoryIsAlignedAndBounded) {
  auto backend = make_cpu_backend({1, 1, ""});
  ASSERT_TRUE(backend);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{5} << 20}) {
    auto buffer = backend->device->allocate(bytes, MemoryKind::kDevice);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
  }
  const auto too_much = backend->device->allocate(size_t{1} << 60, MemoryKind::kDevice);
  ASSERT_FALSE(too_much);
  EXPECT_EQ(too_much.error().code, Code::kExhausted);
}

}  // namespace
}  // namespace ebb::kernels
