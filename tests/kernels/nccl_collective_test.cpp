// Deadlines of the NCCL collective, over a table of calls that never finishes, fails, or works; the
// device is emulated. NCCL itself has no part in this.
#include "kernels/cuda/nccl_collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "kernels/cuda/emulation/cuda_emulation.h"

namespace ebb::kernels::cuda {
namespace {

using collective::CollectiveOptions;
using collective::Rendezvous;
using ::testing::HasSubstr;

/// What the fake does, and what was asked of it.
struct Script {
  NcclAnswer on_begin, on_sum;
  std::vector<NcclAnswer> states;  ///< one a question; the last one stays
  size_t asked = 0;
  int aborted = 0;
  uint32_t begun_as = 0;
  NcclId begun_with;
};

class FakeNccl final : public NcclCalls {
 public:
  explicit FakeNccl(Script& script) : script_(script) {}
  NcclAnswer make_id(NcclId& id) override {
    id.bytes[0] = 0xa5;
    id.bytes[127] = 0x5a;
    return {};
  }
  NcclAnswer begin(const NcclId& id, uint32_t, uint32_t rank) override {
    script_.begun_with = id;
    script_.begun_as = rank;
    return script_.on_begin;
  }
  NcclAnswer sum(float* d_inout, uint64_t count, cudaStream_t stream) override {
    (void)cudaStreamSynchronize(stream);  // what is done at once comes after what is queued
    for (uint64_t i = 0; i < count; ++i) d_inout[i] *= 2;  // as if the peer had the same
    return script_.on_sum;
  }
  NcclAnswer broadcast(void*, uint64_t, uint32_t, cudaStream_t) override { return {}; }
  NcclAnswer gather(const void* d_mine, void* d_all, uint64_t bytes, cudaStream_t stream) override {
    (void)cudaStreamSynchronize(stream);
    std::memcpy(d_all, d_mine, bytes);
    std::memcpy(static_cast<char*>(d_all) + bytes, d_mine, bytes);
    return {};
  }
  NcclAnswer state() override {
    if (script_.states.empty()) return {};
    return script_.states[std::min(script_.asked++, script_.states.size() - 1)];
  }
  void abort() override { ++script_.aborted; }

 private:
  Script& script_;
};

const NcclAnswer kBusy{NcclAnswer::kInProgress, ""};

class NcclCollectiveTest : public ::testing::Test {
 protected:
  NcclCollectiveTest() {
    auto made = CudaContext::make(0);
    EXPECT_TRUE(made);
    context_ = *made;
  }
  ~NcclCollectiveTest() override { ebb::emulation::heal(); }
  Result<std::unique_ptr<collective::Collective>> make(uint32_t rank) {
    CollectiveOptions options;
    options.rank = rank;
    options.size = 2;
    options.epoch = Epoch{7};
    options.call_deadline = Millis(60);
    options.form_by = Deadline::after(Millis(60));
    Rendezvous rendezvous;
    rendezvous.put = [this](const std::string& key, const std::string& value) {
      left_[key] = value;
      return Result<void>();
    };
    rendezvous.get = [this](const std::string& key, Deadline) -> Result<std::string> {
      if (left_.contains(key)) return left_[key];
      return timed_out("no " + key);
    };
    return make_nccl_collective(context_, std::make_unique<FakeNccl>(script_), options, rendezvous);
  }
  Script script_;
  std::map<std::string, std::string> left_;
  std::shared_ptr<CudaContext> context_;
};

TEST_F(NcclCollectiveTest, TheIdOfRankZeroReachesTheOthers) {
  ASSERT_TRUE(make(0));
  ASSERT_TRUE(left_.contains("epoch7/nccl"));
  script_.begun_with = {};
  const auto second = make(1);
  ASSERT_TRUE(second) << second.error().text();
  EXPECT_EQ(script_.begun_as, 1u);
  EXPECT_EQ(script_.begun_with.bytes[0], 0xa5);
  EXPECT_EQ(script_.begun_with.bytes[127], 0x5a);
  left_["epoch7/nccl"].back() = 'x';
  EXPECT_FALSE(make(1));
  left_.clear();
  EXPECT_EQ(make(1).error().code, Code::kTimeout);
}

TEST_F(NcclCollectiveTest, AnswersThatComeLaterAreWaitedFor) {
  script_.on_begin = script_.on_sum = kBusy;
  script_.states = {kBusy, kBusy, {}};
  auto made = make(0);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ((*made)->float_memory(), collective::FloatMemory::kDevice);
  script_.asked = 0;
  ebb::emulation::fail_call("cudaEventQuery", 0, cudaErrorNotReady);
  std::vector<float> values = {1, 2, 3};
  const auto summed = (*made)->all_reduce_sum(values.data(), values.size());
  ASSERT_TRUE(summed) << summed.error().text();
  EXPECT_EQ(values, (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(script_.aborted, 0);
}

TEST_F(NcclCollectiveTest, BytesOfTheHostGoThroughTheDevice) {
  auto made = make(0);
  ASSERT_TRUE(made);
  std::vector<std::byte> mine = {std::byte{1}, std::byte{2}}, all(4);
  ASSERT_TRUE((*made)->gather(mine, all));
  EXPECT_EQ(all, (std::vector<std::byte>{std::byte{1}, std::byte{2}, std::byte{1}, std::byte{2}}));
  ASSERT_TRUE((*made)->broadcast(mine, 0));
  EXPECT_EQ(mine[1], std::byte{2});
}

TEST_F(NcclCollectiveTest, ARankThatNeverComesIsADeadlineAndThenTheEnd) {
  script_.on_begin = kBusy;
  script_.states = {kBusy};
  const auto formed = make(0);
  ASSERT_FALSE(formed);
  EXPECT_EQ(formed.error().code, Code::kTimeout);
  EXPECT_EQ(script_.aborted, 1);

  script_ = {};
  auto made = make(0);
  ASSERT_TRUE(made);
  script_.on_sum = kBusy;
  script_.states = {kBusy};
  float value = 1;
  const auto late = (*made)->all_reduce_sum(&value, 1);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTimeout);
  EXPECT_EQ(script_.aborted, 1);
  script_.on_sum = {};
  script_.states.clear();
  const auto again = (*made)->all_reduce_sum(&value, 1);
  ASSERT_FALSE(again) << "a collective that failed stays dead";
  EXPECT_EQ(again.error().code, Code::kTimeout);
  EXPECT_EQ(script_.aborted, 1);
}

TEST_F(NcclCollectiveTest, WhatNcclSaysIsTheError) {
  auto made = make(0);
  ASSERT_TRUE(made);
  script_.on_sum = kBusy;
  script_.states = {kBusy, {NcclAnswer::kFailed, "remote process exited"}};
  float value = 1;
  const auto failed = (*made)->all_reduce_sum(&value, 1);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnavailable);
  EXPECT_THAT(failed.error().message, HasSubstr("remote process exited"));
}

TEST_F(NcclCollectiveTest, AnotherThreadEndsACallInProgress) {
  auto made = make(0);
  ASSERT_TRUE(made);
  script_.on_sum = kBusy;
  script_.states = {kBusy};
  std::thread other([&] { (*made)->abort("the group is over"); });
  float value = 1;
  const auto ended = (*made)->all_reduce_sum(&value, 1);
  other.join();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::kCancelled);
  EXPECT_THAT(ended.error().message, HasSubstr("the group is over"));
  EXPECT_EQ(script_.aborted, 1);
}

TEST_F(NcclCollectiveTest, ALostDeviceIsNotWaitedFor) {
  auto made = make(0);
  ASSERT_TRUE(made);
  ebb::emulation::lose_device(719);
  float value = 1;
  const auto ended = (*made)->all_reduce_sum(&value, 1);
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message, HasSubstr("device is lost"));
}

}  // namespace
}  // namespace ebb::kernels::cuda
