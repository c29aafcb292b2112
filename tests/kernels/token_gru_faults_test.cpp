// A controller on a device that has no memory left, or is lost: emulated.
#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/gru.h"
#include "tests/kernels/token_gru_fixture.h"

namespace ebb::kernels {
namespace {

constexpr uint32_t kStep = TokenGru::kStep;
constexpr int kOutOfMemory = 2, kLaunchFailure = 719;

class TokenGruFaults : public TokenGruTest {
 protected:
  ~TokenGruFaults() override { ebb::emulation::heal(); }
};

TEST_P(TokenGruFaults, WhereTheDeviceHasNoMemoryTheSequenceStaysAsItWas) {
  const Text t = text(kStep + 1);
  const auto sequence = gru_->begin();
  for (const unsigned calls : {0u, 1u}) {  // its state; its tokens
    ebb::emulation::fail_call("cudaMalloc", calls, kOutOfMemory);
    const auto reserved = sequence->reserve(kStep);
    ASSERT_FALSE(reserved);
    EXPECT_EQ(reserved.error().code, Code::kExhausted);
    EXPECT_NE(reserved.error().message.find("bytes asked"), std::string::npos);
  }
  ASSERT_TRUE(sequence->reserve(kStep));
  append(*sequence, t, kStep);
  const Floats before = score(*sequence, kStep);
  const uint64_t bytes = gru_->device_bytes();
  ebb::emulation::fail_call("cudaMalloc", 0, kOutOfMemory);
  ASSERT_FALSE(sequence->reserve(kStep + 1));
  EXPECT_EQ(gru_->device_bytes(), bytes);
  expect_same_bits(sequence->scores(), before, "after the failure");
  ASSERT_TRUE(sequence->reserve(kStep + 1));
  append(*sequence, t, 1);
  expect_same_bits(score(*sequence, kStep + 1), anew(t, kStep + 1, kStep + 1),
                   "when there is memory again");
  EXPECT_TRUE(machine_->device().synchronize());
}

TEST_P(TokenGruFaults, WeightsThatDoNotFitAreAnError) {
  for (const unsigned calls : {0u, 1u}) {
    ebb::emulation::fail_call("cudaMalloc", calls, kOutOfMemory);
    const auto made = machine_->ops().make_token_gru(weights_);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kExhausted);
  }
}

TEST_P(TokenGruFaults, ALostDeviceGivesNumbersAndItsError) {
  const Text t = text(41);
  const auto sequence = gru_->begin();
  ASSERT_TRUE(sequence->reserve(41));
  append(*sequence, t, 40);
  score(*sequence, 40);
  ebb::emulation::fail_call("lost", 0, kLaunchFailure);
  append(*sequence, t, 1);
  const Floats scores = score(*sequence, 41);
  ASSERT_EQ(scores.size(), 41u);
  for (const float s : scores) EXPECT_EQ(s, s);
  EXPECT_FALSE(machine_->device().synchronize());
}

TEST_P(TokenGruFaults, StepsAreStartedAsGraphs) {
  const Text t = text(20);
  const auto sequence = gru_->begin();
  ASSERT_TRUE(sequence->reserve(20));
  append(*sequence, t, 5);
  score(*sequence, 5);
  const ebb::emulation::Calls before = ebb::emulation::calls();
  for (uint32_t n = 6; n <= 20; ++n) {
    machine_->ops().replayable(1, [&] {
      append(*sequence, t, 1);
      score(*sequence, n);
    });
  }
  EXPECT_GE(ebb::emulation::calls().graphs - before.graphs, 12u);
}

TEST_P(TokenGruFaults, AStateTooWideForTheKernelsIsRefused) {
  weights_.width = cuda::kGruWidthMax + 1;
  const auto made = machine_->ops().make_token_gru(weights_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnsupported);
}

EBB_ON_EVERY_SUBJECT(TokenGruFaults);

}  // namespace
}  // namespace ebb::kernels
