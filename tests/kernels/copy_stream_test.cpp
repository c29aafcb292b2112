// Records move on streams of their own: whatever the order in which a device gets to its work, what
// was computed before is what is packed, and what is unpacked is there for what is computed after.
// That the emulation would show a missing wait is asked too.
#include "kernels/cuda/copy_stream.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/emulation/streams.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/rows.h"

namespace ebb::kernels::cuda {
namespace {

constexpr KvShape kShape{2, 2, 16, 4};
constexpr uint32_t kRows = 24;  ///< the last eight are written over by each round
constexpr int kSeeds = 24;
constexpr int kLaunchFailure = 719;

class CopyStreams : public ::testing::Test {
 protected:
  CopyStreams() {
    std::iota(blocks_.begin(), blocks_.end(), 0u);
    std::mt19937 random(5);
    for (std::byte& byte : rows_) byte = static_cast<std::byte>(random() & 0xff);
    arena_ = memory(rows_.size());
    frames_ = memory(kMoved * band(0).frame_bytes());
    reset();
  }
  ~CopyStreams() override {
    emulation::ignore_waits(false);
    emulation::heal();
  }

  static constexpr uint32_t kMoved = 8;

  struct Free {
    void operator()(void* data) const { (void)cudaFreeHost(data); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  static Memory memory(size_t bytes) {
    void* data = nullptr;
    EXPECT_EQ(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), cudaSuccess);
    return Memory(static_cast<std::byte*>(data));
  }
  void reset() {
    context_->wait("resetting");
    std::memcpy(arena_.get(), rows_.data(), rows_.size());
  }
  KvRows kv() const { return {arena_.get(), blocks_}; }
  /// Eight records of the rows from `slot` on.
  RecordBand band(uint32_t slot) {
    records_.clear();
    for (uint32_t i = 0; i < kMoved; ++i) records_.push_back({slot + i, i, 0});
    layer_ = kv();
    return {kShape, std::span(&layer_, 1), names_, records_};
  }
  static std::vector<uint32_t> slots(uint32_t from) {
    std::vector<uint32_t> out(kMoved);
    std::iota(out.begin(), out.end(), from);
    return out;
  }
  void copy(uint32_t from, uint32_t to) {
    copy_rows(*context_, kShape, kv(), slots(from), slots(to));
  }
  std::vector<std::byte> now(uint32_t slot) {
    context_->wait("looking");
    const std::byte* at = arena_.get() + uint64_t{slot} * kShape.row_bytes();
    return {at, at + uint64_t{kMoved} * kShape.row_bytes()};
  }
  std::vector<std::byte> was(uint32_t slot) const {
    const std::byte* at = rows_.data() + uint64_t{slot} * kShape.row_bytes();
    return {at, at + uint64_t{kMoved} * kShape.row_bytes()};
  }

  /// Rows 0.. go over rows 16.., which are packed, and come back as rows 8.., which go over 16..
  /// again. Nothing waits before the end.
  bool round_trip(RecordMover& mover, uint64_t seed) {
    emulation::shuffle_streams(seed);
    reset();
    copy(0, 16);
    EXPECT_TRUE(mover.pack(band(16), frames_.get())->wait());
    copy(8, 16);
    auto back = mover.unpack(band(8), frames_.get());
    copy(8, 16);
    const bool good = now(16) == was(0);
    const auto refused = back->wait();
    EXPECT_TRUE(refused);
    return good && refused && refused->empty();
  }

  std::shared_ptr<CudaContext> context_ = *CudaContext::make(0);
  std::vector<uint32_t> blocks_ = std::vector<uint32_t>(kRows / 4);
  std::vector<std::byte> rows_ = std::vector<std::byte>(kRows * kShape.row_bytes());
  std::array<RecordName, 1> names_{{{1, 2, 3, 4, 5, 6}}};
  std::vector<Record> records_;
  KvRows layer_;
  Memory arena_, frames_;
};

TEST_F(CopyStreams, WhateverIsDoneWhenTheBytesAreTheSameOnBothWays) {
  for (const RecordWay way : {RecordWay::kDirect, RecordWay::kStaged}) {
    RecordMover mover(context_);
    mover.set_way(way);
    for (int seed = 0; seed < kSeeds; ++seed) EXPECT_TRUE(round_trip(mover, seed)) << seed;
  }
  EXPECT_FALSE(context_->failed());
}

TEST_F(CopyStreams, AMissingWaitWouldBeSeen) {
  emulation::ignore_waits(true);
  RecordMover mover(context_);
  int wrong = 0;
  for (int seed = 0; seed < kSeeds; ++seed) wrong += round_trip(mover, seed) ? 0 : 1;
  EXPECT_GT(wrong, 0);
}

TEST_F(CopyStreams, AHostThatDoesNotWaitSeesThatItIsNotDone) {
  RecordMover mover(context_);
  int early = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    emulation::shuffle_streams(seed);
    auto packed = mover.pack(band(0), frames_.get());
    early += packed->done() ? 0 : 1;
    for (int look = 0; look < 1000 && !packed->done(); ++look) {
    }
    EXPECT_TRUE(packed->done()) << "asking often enough is as good as waiting";
    EXPECT_TRUE(packed->wait());
  }
  EXPECT_GT(early, 0);
}

TEST_F(CopyStreams, TransfersUnderWayTogetherDoNotTouchEachOther) {
  RecordMover mover(context_);
  const uint64_t frame_bytes = kMoved * band(0).frame_bytes();
  for (int seed = 0; seed < kSeeds; ++seed) {
    emulation::shuffle_streams(seed);
    reset();
    std::vector<Memory> frames;
    std::vector<std::unique_ptr<Transfer>> out, in;
    for (const uint32_t slot : {0u, 8u, 16u}) {
      frames.push_back(memory(frame_bytes));
      out.push_back(mover.pack(band(slot), frames.back().get()));
    }
    for (auto& transfer : out) EXPECT_TRUE(transfer->wait());
    uint32_t to = 16;  // back in the opposite order
    for (auto& of : frames) {
      in.push_back(mover.unpack(band(to), of.get()));
      to -= 8;
    }
    EXPECT_EQ(now(16), was(0));
    EXPECT_EQ(now(0), was(16));
    for (auto& transfer : in) EXPECT_TRUE(transfer->wait());
  }
}

TEST_F(CopyStreams, ALostDeviceEndsWhatIsUnderWayWithAnError) {
  for (const unsigned launches : {0u, 1u}) {
    const auto context = *CudaContext::make(0);
    RecordMover mover(context);
    emulation::fail_call("lost", launches, kLaunchFailure);
    auto packed = mover.pack(band(0), frames_.get());
    auto unpacked = mover.unpack(band(8), frames_.get());
    while (!unpacked->done()) {
    }
    for (auto* transfer : {&packed, &unpacked}) {
      const auto ended = (*transfer)->wait();
      ASSERT_FALSE(ended);
      EXPECT_NE(ended.error().message.find("device is lost"), std::string::npos);
    }
    packed.reset();
    unpacked.reset();
    emulation::heal();
  }
}

TEST_F(CopyStreams, NoMemoryForATransferIsAnErrorOfIt) {
  for (const char* call :
       {"cudaHostAlloc", "cudaMalloc", "cudaEventCreateWithFlags", "cudaStreamCreateWithFlags"}) {
    const auto context = *CudaContext::make(0);
    RecordMover mover(context);
    emulation::fail_call(call, 0, cudaErrorMemoryAllocation);
    auto packed = mover.pack(band(0), frames_.get());
    EXPECT_TRUE(packed->done());
    const auto ended = packed->wait();
    ASSERT_FALSE(ended) << call;
    EXPECT_EQ(ended.error().code, Code::kExhausted) << call;
    emulation::heal();
  }
}

}  // namespace
}  // namespace ebb::kernels::cuda
