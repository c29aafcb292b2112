// Operations that are recorded and replayed: the same results, fewer calls, and no recording that
// outlives what it names.
#include "kernels/cuda/replay.h"

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/emulation/cuda_emulation.h"
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

class Replaying : public ::testing::Test {
 protected:
  static constexpr uint32_t kWidth = 96;

  void TearDown() override { emulation::heal(); }

  /// A norm and two products, as a layer has them; counts how often the host enqueues them.
  void step(uint64_t key) {
    m_.ops().replayable(key, [&] {
      ++enqueued_;
      m_.ops().rms_norm(x_, 2, gain_, 1e-5f, normed_);
      m_.ops().matmul(normed_, 2, w_, a_, kWidth);
      m_.ops().matmul(a_, 2, w_, b_, kWidth);
    });
  }
  void set_x() {
    const Floats x = random_floats(random_, 2 * kWidth);
    m_.device().copy_to_device(x_, x.data(), x.size() * sizeof(float));
  }
  Floats result() { return m_.download(b_, 2 * kWidth); }

  Random random_{7};
  Machine m_{std::move(*make_backend("cuda", 1))};
  WeightData gain_data_ = random_weight(random_, WeightFormat::kF32, 1, kWidth);
  WeightData w_data_ = random_weight(random_, WeightFormat::kQ4_1, kWidth, kWidth);
  const Weight& gain_ = m_.weight(gain_data_.source);
  const Weight& w_ = m_.weight(w_data_.source);
  float* x_ = m_.room(2 * kWidth);
  float* normed_ = m_.room(2 * kWidth);
  float* a_ = m_.room(2 * kWidth);
  float* b_ = m_.room(2 * kWidth);
  int enqueued_ = 0;
};

TEST_F(Replaying, EagerRecordedAndReplayedHaveTheSameBitsAndKernels) {
  std::vector<Floats> results;
  std::vector<uint64_t> launches;
  set_x();
  for (int i = 0; i < 4; ++i) {
    const uint64_t before = emulation::launches();
    step(1);
    results.push_back(result());
    launches.push_back(emulation::launches() - before);
  }
  EXPECT_EQ(enqueued_, 2) << "once to run, once to record";
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(launches[i], 3u);
    expect_same_bits(results[i], results[0], "call " + std::to_string(i));
  }
}

TEST_F(Replaying, AReplayReadsWhatIsThereNow) {
  for (int i = 0; i < 3; ++i) {
    set_x();
    step(1);
  }
  set_x();
  step(1);
  const Floats replayed = result();
  step(2);
  expect_same_bits(replayed, result(), "eager");
}

TEST_F(Replaying, ABodyThatCannotBeRecordedRunsEachTime) {
  const std::vector<TokenId> ids = {3, 5};
  int runs = 0;
  set_x();
  const auto body = [&] {
    ++runs;
    m_.ops().embed(w_, ids, x_);  // values of the host
    m_.ops().matmul(x_, 2, w_, b_, kWidth);
  };
  Floats first;
  for (int i = 0; i < 4; ++i) {
    m_.ops().replayable(9, body);
    if (i == 0) first = result();
    expect_same_bits(result(), first, "call " + std::to_string(i));
  }
  EXPECT_EQ(runs, 5) << "one of them was a try to record";
  EXPECT_TRUE(m_.device().synchronize()) << "and it was no error";
}

TEST_F(Replaying, AFailedCaptureOrInstantiationIsNoError) {
  set_x();
  step(1);
  const Floats expected = result();
  for (const char* call :
       {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
    const uint64_t key = 100 + static_cast<uint64_t>(call[4]) + static_cast<uint64_t>(call[10]);
    step(key);
    emulation::fail_call(call, 0, 801);
    for (int i = 0; i < 2; ++i) {
      step(key);
      expect_same_bits(result(), expected, call);
    }
    EXPECT_TRUE(m_.device().synchronize()) << call;
  }
}

TEST_F(Replaying, ADeviceThatIsLostIsStillReported) {
  set_x();
  for (int i = 0; i < 3; ++i) step(1);
  emulation::lose_device(700);
  step(1);
  EXPECT_FALSE(m_.device().synchronize());
}

TEST_F(Replaying, RecordingsGoWhenAWeightGoes) {
  set_x();
  for (int i = 0; i < 3; ++i) step(1);
  EXPECT_EQ(enqueued_, 2);
  {
    const auto other = m_.ops().load_weight(w_data_.source);
    ASSERT_TRUE(other);
  }
  step(1);
  EXPECT_EQ(enqueued_, 3) << "the recording may have named the weight";
}

TEST_F(Replaying, TheCacheHasABound) {
  auto context = cuda::CudaContext::make(0);
  ASSERT_TRUE(context);
  cuda::Replay replay(**context);
  for (uint64_t key = 0; key < 3 * cuda::Replay::kRecordings; ++key) replay.run(key, [] {});
  EXPECT_LE(replay.recordings(), cuda::Replay::kRecordings);
  int runs = 0;
  replay.run(3 * cuda::Replay::kRecordings - 1, [&] { ++runs; });
  replay.run(3 * cuda::Replay::kRecordings - 1, [&] { ++runs; });
  EXPECT_EQ(runs, 1) << "the latest are kept";
}

}  // namespace
}  // namespace ebb::kernels
