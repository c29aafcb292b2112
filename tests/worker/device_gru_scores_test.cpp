// ADORE with its controller on the device (emulated): the host's scores, the CPU's tokens, the same
// bits however steps are started; and what happens where the device has no memory for it.
#include "worker/attention/device_gru_scores.h"

#include <gmock/gmock.h>

#include "tests/worker/cuda_fixture.h"
#include "tests/worker/scorers.h"
#include "tests/worker/store_process.h"
#include "worker/attention/gru_scores.h"

namespace ebb::worker::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kHidden = 64, kState = 16;
constexpr int kOutOfMemory = 2;

control::PolicyParams adore(uint32_t budget, uint32_t rebuild, bool restores = false) {
  control::PolicyParams params;
  params.kind = control::PolicyKind::kAdore;
  params.budget = budget;
  params.sinks = 2;
  params.window = 4;
  params.rebuild = rebuild;
  params.restores = restores;
  if (!restores) params.kept = budget + rebuild + 1;
  return params;
}

class DeviceGruScores : public CudaWorkerTest {
 protected:
  DeviceGruScores() {
    controller_ =
        std::make_shared<const models::AdoreController>(random_controller(11, kHidden, kState));
  }

  struct Step {
    control::TokenLogprob said;
    std::vector<Position> retained;
    bool operator==(const Step& other) const {
      return said.token == other.said.token && said.top == other.said.top &&
             retained == other.retained;
    }
  };
  static Step step_of(const control::SequenceResult& result) {
    return {result.has_token ? result.token : result.prompt.at(0), result.trace.at(0).positions};
  }
  /// `forced` tokens behind a prompt of `prompt`; what follows them is sampled.
  static control::OpenUnit unit(uint64_t seq, const control::PolicyParams& params, uint32_t prompt,
                                uint32_t forced) {
    control::OpenUnit open = open_unit(seq, params);
    ebb::testing::TinyRandom random(seq);
    open.prompt.clear();
    for (uint32_t i = 0; i < prompt + forced; ++i) {
      open.prompt.push_back(static_cast<TokenId>(3 + random.next() % 256));
    }
    open.decode_from = prompt;
    open.max_tokens = 16;
    open.trace_selection = true;
    return open;
  }
  static void start(RankGroup& group, const control::OpenUnit& open) {
    for (const auto& failure : group.open(open)[0].failures) ADD_FAILURE() << failure.error.text();
    const auto filled = group.prefill(open.seq, open.decode_from, 48);
    for (const auto& failure : filled[0].failures) ADD_FAILURE() << failure.error.text();
  }
  static std::vector<Step> decode(RankGroup& group, SeqId seq, uint32_t steps) {
    std::vector<Step> out;
    for (uint32_t i = 0; i < steps; ++i) {
      const auto results = group.decode({seq});
      for (const auto& failure : results[0].failures) ADD_FAILURE() << failure.error.text();
      if (results[0].sequences.empty()) break;
      out.push_back(step_of(results[0].sequences[0]));
    }
    return out;
  }
  std::vector<Step> run(const GroupSetup& setup, const control::OpenUnit& open, uint32_t steps) {
    RankGroup group(setup);
    start(group, open);
    return decode(group, open.seq, steps);
  }
  static double scores_bytes(RankGroup& group) {
    const std::string text = group.metrics(0), name = "\nebb_device_token_scores_bytes ";
    const size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size()));
  }
};

TEST_F(DeviceGruScores, AreTheHostsUpToRounding) {
  auto cuda = emulated();
  kernels::CpuOptions cpu_options;
  auto cpu = kernels::make_cpu_backend(cpu_options);
  const auto on_device = std::move(*make_gru_scorer(*controller_, *cuda->ops));
  const auto on_host = std::move(*make_gru_scorer(*controller_, *cpu->ops));
  EXPECT_EQ(on_device->reads(), kernels::MemoryKind::kDevice);
  EXPECT_EQ(on_host->reads(), kernels::MemoryKind::kHost);
  EXPECT_EQ(on_device->width(), kHidden);
  EXPECT_EQ(on_host->device_bytes(), 0u);
  const std::vector<TokenId> ids(150, 5);
  const auto rows = ebb::testing::TinyRandom(4).values(150 * kHidden, 1);
  const auto buffer =
      std::move(*cuda->device->allocate(rows.size() * 4, kernels::MemoryKind::kDevice));
  cuda->device->copy_to_device(buffer.data(), rows.data(), rows.size() * 4);
  const auto device_scores = on_device->begin(), host_scores = on_host->begin();
  ASSERT_TRUE(device_scores->reserve(150));
  device_scores->append(ids, buffer.floats());
  host_scores->append(ids, rows.data());
  for (const Position n : {1u, 64u, 65u, 66u, 150u}) {
    const auto got = device_scores->at(n), expected = host_scores->at(n);
    ASSERT_EQ(got.size(), n);
    for (Position i = 0; i < n; ++i) EXPECT_NEAR(got[i], expected[i], 1e-4) << n << ", " << i;
  }
}

TEST_F(DeviceGruScores, GiveTheCpusTokens) {
  for (const uint32_t ranks : {1u, 2u}) {
    for (const bool restores : {false, true}) {
      const auto open = unit(1, adore(24, 4, restores), kPrompt, 2);
      const auto cuda = run(setup(ranks, true), open, 6);
      const auto cpu = run(setup(ranks, false), open, 6);
      ASSERT_EQ(cuda.size(), 6u);
      ASSERT_EQ(cpu.size(), 6u);
      for (size_t i = 0; i < cpu.size(); ++i) {
        EXPECT_EQ(cuda[i].retained, cpu[i].retained) << "step " << i;
        expect_alike({cuda[i].said}, {cpu[i].said});
        if (cuda[i].said.token != cpu[i].said.token) break;  // a near tie: other texts from here
      }
    }
  }
}

TEST_F(DeviceGruScores, GraphsChangeNoBit) {
  compare_graphs(setup(1, true), adore(24, 4));
  compare_graphs(setup(2, true), adore(24, 4));
  compare_graphs(setup(1, true), adore(24, 4, true));
  StoreProcess store("2MiB");
  GroupSetup s = setup(1, true);
  s.store = store.address();
  compare_graphs(s, adore(24, 4, true), true);
}

TEST_F(DeviceGruScores, SequencesOfOneStepHaveTheSetsOfTheirOwn) {
  RankGroup together(setup(1, true)), alone(setup(1, true));
  const uint32_t prompts[] = {96, 31, 60};
  std::vector<SeqId> all;
  for (uint64_t i = 0; i < 3; ++i) {
    const auto open = unit(i + 1, adore(24, 1), prompts[i], 4);
    start(together, open);
    start(alone, open);
    all.push_back(open.seq);
  }
  for (int step = 0; step < 3; ++step) {
    const auto results = together.decode(all);
    ASSERT_EQ(results[0].sequences.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      const auto own = decode(alone, all[i], 1);
      EXPECT_TRUE(step_of(results[0].sequences[i]) == own.at(0)) << "step " << step << ", " << i;
    }
  }
}

TEST_F(DeviceGruScores, AStepThatFailedIsRepeatedWithTheSameBits) {
  for (const bool restores : {false, true}) {
    const auto open = unit(1, adore(24, 4, restores), kPrompt, 2);
    const auto undisturbed = run(setup(1, true), open, 4);
    RankGroup group(setup(1, true));
    start(group, open);
    start(group, unit(2, policy(control::PolicyKind::kTidal, 32), kPrompt, 16));
    for (const Step& expected : undisturbed) {
      group.board().fail(0, 1);
      ASSERT_FALSE(group.decode({SeqId{1}, SeqId{2}})[0].failures.empty());
      EXPECT_TRUE(decode(group, SeqId{1}, 1).at(0) == expected);
    }
  }
}

TEST_F(DeviceGruScores, WithoutMemoryForThePromptsScoresTheSequenceFailsAndNothingElse) {
  for (const uint32_t ranks : {1u, 2u}) {
    const auto open = unit(1, adore(24, 4), 48, 2);
    RankGroup group(setup(ranks, true));
    group.open(open);
    ebb::emulation::fail_call("cudaMalloc", 0, kOutOfMemory);  // of whichever rank asks first
    size_t failures = 0;
    for (const auto& of_rank : group.bulk(open.seq, {0, 48}, {0, 3})) {
      EXPECT_TRUE(of_rank.sequences.empty());
      for (const auto& failure : of_rank.failures) {
        ++failures;
        EXPECT_EQ(failure.seq, open.seq);
        EXPECT_EQ(failure.error.code, Code::kExhausted);
        EXPECT_THAT(failure.error.message, HasSubstr("token scores"));
      }
    }
    EXPECT_EQ(failures, 1u);
    group.close(open.seq);
    start(group, open);
    EXPECT_EQ(decode(group, open.seq, 2).size(), 2u);
  }
}

TEST_F(DeviceGruScores, WithoutMemoryToGrowTheStepFailsOnAllRanksAndMayBeRepeated) {
  const auto open = unit(1, adore(24, 4), kernels::TokenGru::kStep - 1, 4);
  RankGroup group(setup(2, true));
  start(group, open);
  decode(group, open.seq, 2);
  ebb::emulation::fail_call("cudaMalloc", 0,
                            kOutOfMemory);  // in the step that scores kStep + 1 tokens
  size_t failures = 0;
  for (const auto& of_rank : group.decode({open.seq})) {
    EXPECT_TRUE(of_rank.sequences.empty());
    for (const auto& failure : of_rank.failures) {
      ++failures;
      EXPECT_EQ(failure.error.code, Code::kExhausted);
      EXPECT_THAT(failure.error.message, HasSubstr("token scores"));
    }
  }
  EXPECT_EQ(failures, 1u);
  for (int step = 0; step < 2; ++step) {
    const auto results = group.decode({open.seq});
    ASSERT_EQ(results[0].sequences.size(), 1u) << results[0].failures.at(0).error.text();
    ASSERT_EQ(results[1].sequences.size(), 1u) << results[1].failures.at(0).error.text();
  }
}

TEST_F(DeviceGruScores, ADeviceThatIsLostWhileItScoresEndsTheUnit) {
  RankGroup group(setup(1, true));
  start(group, unit(1, adore(24, 4), kPrompt, 4));
  ebb::emulation::fail_call("lost", 2, 719);  // after the embedding, in the recurrence
  const auto results = group.try_run(decode_unit());
  ASSERT_FALSE(results[0]);
  EXPECT_THAT(results[0].error().message, HasSubstr("device is lost"));
  EXPECT_TRUE(group.engine(0).lost());
}

TEST_F(DeviceGruScores, TheirMemoryIsAccountedForAndGivenBack) {
  RankGroup group(setup(1, true));
  const auto open = unit(1, adore(24, 4), 40, 0);
  group.open(open);
  const double of_weights = scores_bytes(group);
  EXPECT_GE(of_weights, 4 * (kState * kHidden + 7 * kState * kState));
  group.prefill(open.seq, 40, 48);
  // A state, and head inputs and scores of as many tokens as memory grows by.
  const double of_sequence = 4 * kState + kernels::TokenGru::kStep * 4 * (kState + 1);
  EXPECT_EQ(scores_bytes(group), of_weights + of_sequence);
  decode(group, open.seq, 3);
  EXPECT_EQ(scores_bytes(group), of_weights + of_sequence);
  group.close(open.seq);
  EXPECT_EQ(scores_bytes(group), of_weights);
  RankGroup on_host(setup(1, false));
  on_host.open(open);
  on_host.prefill(open.seq, 40, 48);
  EXPECT_EQ(scores_bytes(on_host), 0);
}

TEST_F(DeviceGruScores, WithoutMemoryForTheWeightsTheEngineIsNotMade) {
  auto files = models::ModelFiles::open(model_);
  auto backend = emulated();
  ebb::emulation::Machine full;
  full.memory = 1;
  ebb::emulation::set_machine(full);
  EngineOptions options;
  options.controller = controller_;
  Metrics metrics;
  const auto made =
      Engine::make(options, std::move(*backend), **files, (*files)->shape(), nullptr, metrics);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kExhausted);
  EXPECT_THAT(made.error().message, HasSubstr("model.controller"));
}

}  // namespace
}  // namespace ebb::worker::testing
