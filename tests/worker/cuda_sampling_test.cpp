// Tokens that are drawn where the logits are, on the emulated CUDA backend: those that the host
// draws from the same logits, whatever is asked for, on one rank and on ranks that sum on their
// devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/plugin.h"
#include "tests/support/temp_dir.h"
#include "tests/worker/sampling_requests.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace ebb::worker::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kSteps = 8;

/// A collective that sums device memory in place, which emulated devices let the host reach.
class OnDevices final : public collective::Collective {
 public:
  explicit OnDevices(std::unique_ptr<Collective> host) : host_(std::move(host)) {}
  uint32_t rank() const override { return host_->rank(); }
  uint32_t size() const override { return host_->size(); }
  collective::FloatMemory float_memory() const override { return collective::FloatMemory::kDevice; }
  Result<void> all_reduce_sum(float* inout, uint64_t count) override {
    return host_->all_reduce_sum(inout, count);
  }
  Result<void> broadcast(std::span<std::byte> inout, uint32_t root) override {
    return host_->broadcast(inout, root);
  }
  Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    return host_->gather(mine, all);
  }
  void abort(const std::string& why) override { host_->abort(why); }

 private:
  std::unique_ptr<Collective> host_;
};

kernels::CudaPlugin plugin_that_sums_on_devices() {
  kernels::CudaPlugin plugin = *ebb_cuda_backend_v1();
  plugin.why_no_collective = [] { return std::string(); };
  plugin.make_collective = [](kernels::Device&, const collective::CollectiveOptions& options,
                              const collective::Rendezvous& rendezvous)
      -> Result<std::unique_ptr<collective::Collective>> {
    auto host = collective::make_collective(options, rendezvous);
    if (!host) return std::move(host).error();
    return std::unique_ptr<collective::Collective>(std::make_unique<OnDevices>(std::move(*host)));
  };
  return plugin;
}

class CudaSampling : public ::testing::Test {
 protected:
  CudaSampling() {
    ebb::emulation::Machine machine;
    machine.devices = 2;
    ebb::emulation::set_machine(machine);
  }
  ~CudaSampling() override { ebb::emulation::set_machine({}); }

  GroupSetup setup(uint32_t ranks) {
    GroupSetup s = sampling_setup(dir_.path("tiny.gguf"), ranks);
    auto next = std::make_shared<std::atomic<int>>(0);
    s.backend = [next, ranks] {
      kernels::CudaOptions options;
      options.device = (*next)++ % static_cast<int>(ranks);
      return ebb_cuda_backend_v1()->make_backend(options);
    };
    return s;
  }
  GroupSetup setup_on_devices(uint32_t ranks) {
    GroupSetup s = setup(ranks);
    s.plugin = &plugin_;
    return s;
  }
  /// With log-probabilities the host has to see the logits, and draws.
  static control::OpenUnit by_host(control::OpenUnit open) {
    open.sampling.logprobs = 0;
    return open;
  }

  const kernels::CudaPlugin plugin_ = plugin_that_sums_on_devices();
  ebb::test::TempDir dir_;
};

TEST_F(CudaSampling, TheDeviceDrawsWhatTheHostDraws) {
  RankGroup group(setup(1));
  for (const control::OpenUnit& open : various_requests()) {
    const uint64_t before = ebb::emulation::calls().fetched_bytes;
    const std::vector<TokenId> drawn = alone(group, open, kSteps);
    const uint64_t fetched = ebb::emulation::calls().fetched_bytes - before;
    EXPECT_LT(fetched, kVocabulary * sizeof(float)) << "logits came to the host";
    EXPECT_EQ(drawn, alone(group, by_host(open), kSteps)) << "sequence " << open.seq.value;
  }
}

TEST_F(CudaSampling, RanksThatSumOnTheirDevicesDrawWhatTheHostDraws) {
  std::vector<std::vector<TokenId>> drawn, expected;
  {
    RankGroup group(setup_on_devices(2));
    for (const control::OpenUnit& open : various_requests()) {
      drawn.push_back(alone(group, open, kSteps));
      EXPECT_EQ(drawn.back(), alone(group, by_host(open), kSteps)) << open.seq.value;
    }
  }
  RankGroup group(setup(2));  // through the host
  for (const control::OpenUnit& open : various_requests()) {
    expected.push_back(alone(group, open, kSteps));
  }
  EXPECT_EQ(drawn, expected);
}

TEST_F(CudaSampling, RowsOfOneStepMayBeDrawnHereAndThere) {
  RankGroup group(setup(1));
  auto all = various_requests();
  std::vector<std::vector<TokenId>> expected;
  for (const auto& open : all) expected.push_back(alone(group, open, kSteps));
  for (size_t i = 0; i < all.size(); i += 2) all[i] = by_host(all[i]);
  EXPECT_EQ(together(group, all, kSteps), expected);
}

TEST_F(CudaSampling, AllRowsOfAPromptAreScoredFromTheDevicesLogits) {
  control::OpenUnit open = sampling_request(1);
  open.sampling.prompt_logprobs = true;
  open.sampling.prompt_top = 3;
  const auto size = static_cast<uint32_t>(open.prompt.size());
  std::vector<std::vector<control::TokenLogprob>> scores;
  for (const bool on_devices : {true, false}) {
    RankGroup group(on_devices ? setup_on_devices(2) : setup(2));
    group.open(open);
    group.prefill(SeqId{1}, size, 48);
    scores.push_back(group.prompt_scores);
  }
  ASSERT_EQ(scores[0].size(), size - 1);
  ASSERT_EQ(scores[1].size(), size - 1);
  for (size_t i = 0; i + 1 < size; ++i) {
    EXPECT_EQ(scores[0][i].logprob, scores[1][i].logprob) << "token " << i;
    EXPECT_EQ(scores[0][i].top, scores[1][i].top) << "token " << i;
  }
}

TEST_F(CudaSampling, WhereNoTokenMayComeTheSentenceIsTheHosts) {
  const control::SequenceResult result = unspellable(setup(1));
  EXPECT_FALSE(result.has_token);
  EXPECT_THAT(result.problem, HasSubstr("no token of the vocabulary"));
}

/// Every token may end the text, and none may before the fourth: then one comes all the same.
TEST_F(CudaSampling, StopTokensComeWhereNothingElseIsLeft) {
  RankGroup group(setup(1));
  control::OpenUnit open = sampling_request(2);
  for (TokenId token = 0; token < static_cast<TokenId>(kVocabulary); ++token) {
    open.sampling.stop_tokens.push_back(token);
  }
  open.sampling.min_tokens = 4;
  EXPECT_EQ(alone(group, open, 3), alone(group, by_host(open), 3));
}

TEST_F(CudaSampling, ALostDeviceDrawsNothing) {
  RankGroup group(setup(1));
  control::OpenUnit open = sampling_request(1);
  group.open(open);
  group.prefill(SeqId{1}, static_cast<uint32_t>(open.prompt.size()), 48);
  control::Unit unit;
  unit.kind = control::UnitKind::kDecode;
  unit.decode.seqs = {SeqId{1}};
  ebb::emulation::fail_call("lost", 3, 719);
  const auto results = group.try_run(unit);
  ASSERT_FALSE(results[0]);
  EXPECT_THAT(results[0].error().message, HasSubstr("device is lost"));
  ebb::emulation::heal();
}

}  // namespace
}  // namespace ebb::worker::testing
