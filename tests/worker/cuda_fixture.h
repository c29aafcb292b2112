// Groups of ranks on the emulated CUDA backend beside groups on the CPU's: what tests of the two
// share.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/plugin.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace ebb::worker::testing {

constexpr uint32_t kVocabulary = 288;
constexpr uint32_t kPrompt = 96;
constexpr uint32_t kSteps = 3;
constexpr double kMargin = 0.05;  ///< of log-probability: below it, rounding may choose
constexpr double kRounding = 2e-2;
constexpr int kLaunchFailure = 719;

inline Result<kernels::Backend> emulated() { return ebb_cuda_backend_v1()->make_backend({}); }
inline Result<kernels::Backend> emulated_without_graphs() {
  kernels::CudaOptions options;
  options.graphs = false;
  return ebb_cuda_backend_v1()->make_backend(options);
}

class CudaWorkerTest : public ::testing::Test {
 protected:
  CudaWorkerTest() {
    ebb::testing::TinyLlamaOptions options;
    options.layers = 3;
    options.width = 64;
    options.heads_q = 4;
    options.heads_kv = 2;
    options.head_size = 16;
    options.ffn_width = 64;
    options.vocabulary = kVocabulary;
    model_ = dir_.path("tiny.gguf");
    ebb::testing::write_tiny_llama(model_, options);
  }
  ~CudaWorkerTest() override { ebb::emulation::heal(); }

  GroupSetup setup(uint32_t ranks, bool cuda) {
    GroupSetup s;
    s.model_path = model_;
    s.ranks = ranks;
    s.device_kv_bytes = 4 << 20;
    s.profile.name = "tiny";
    s.profile.model_name = "tiny llama";
    s.profile.layers = 3;
    s.profile.anchors = {0, 1};
    s.profile.budget_min = 32;
    s.profile.sinks = 4;
    s.profile.window = 8;
    s.rows_max = 64;
    s.controller = controller_;
    if (cuda) s.backend = &emulated;
    return s;
  }
  static control::PolicyParams policy(control::PolicyKind kind, uint32_t budget) {
    control::PolicyParams params;
    params.kind = kind;
    params.budget = budget;
    params.window = 8;
    return params;
  }
  static control::OpenUnit open_unit(uint64_t seq, const control::PolicyParams& params,
                                     uint32_t steps = kSteps) {
    control::OpenUnit open;
    open.seq = SeqId{seq};
    ebb::testing::TinyRandom random(seq);
    for (uint32_t i = 0; i < kPrompt + steps; ++i) {
      open.prompt.push_back(static_cast<TokenId>(3 + random.next() % 256));
    }
    open.decode_from = kPrompt;
    open.max_tokens = 4;
    open.sampling.temperature = 0;
    open.sampling.logprobs = kVocabulary;
    open.policy = params;
    return open;
  }
  /// What every step, teacher-forced, says of the next token. `spill`: the last band is released
  /// before, so that its rows come back from the store.
  static std::vector<control::TokenLogprob> scores(RankGroup& group,
                                                   const control::PolicyParams& params,
                                                   bool spill = false, uint32_t steps = kSteps) {
    group.open(open_unit(1, params, steps));
    const auto filled = group.prefill(SeqId{1}, kPrompt, 48);
    for (const auto& failure : filled[0].failures) ADD_FAILURE() << failure.error.text();
    if (spill) {
      for (const auto& released : group.release(SeqId{1}, {2}, 32)) {
        for (const auto& failure : released.failures) ADD_FAILURE() << failure.error.text();
      }
    }
    std::vector<control::TokenLogprob> out;
    for (uint32_t i = 0; i < steps; ++i) {
      const auto results = group.decode({SeqId{1}});
      for (const auto& failure : results[0].failures) ADD_FAILURE() << failure.error.text();
      if (results[0].sequences.empty()) break;
      const auto& result = results[0].sequences[0];
      out.push_back(result.has_token ? result.token : result.prompt.at(0));
    }
    const auto closed = group.close(SeqId{1});
    if (spill) {
      EXPECT_GT(closed[0].maps.at(0).counters.restored_host_records, 0u);
    }
    return out;
  }
  static void expect_alike(const std::vector<control::TokenLogprob>& cuda,
                           const std::vector<control::TokenLogprob>& cpu) {
    ASSERT_EQ(cuda.size(), cpu.size());
    for (size_t i = 0; i < cuda.size(); ++i) {
      ASSERT_EQ(cuda[i].top.size(), kVocabulary);
      const std::map<TokenId, float> all(cuda[i].top.begin(), cuda[i].top.end());
      for (const auto& [id, logprob] : cpu[i].top) {
        ASSERT_NEAR(all.at(id), logprob, kRounding) << "step " << i << ", token " << id;
      }
      if (cpu[i].top[0].second - cpu[i].top[1].second < kMargin) continue;
      EXPECT_EQ(cuda[i].top[0].first, cpu[i].top[0].first) << "step " << i;
    }
  }
  void compare(uint32_t ranks, const control::PolicyParams& params) {
    RankGroup cuda(setup(ranks, true)), cpu(setup(ranks, false));
    expect_alike(scores(cuda, params), scores(cpu, params));
  }
  /// Steps enough that stretches are met, recorded, and replayed with other values.
  void compare_graphs(GroupSetup s, const control::PolicyParams& params, bool spill = false) {
    constexpr uint32_t kMany = 8;
    std::vector<control::TokenLogprob> with, without;
    const ebb::emulation::Calls before = ebb::emulation::calls();
    {
      RankGroup group(s);
      with = scores(group, params, spill, kMany);
    }
    const ebb::emulation::Calls with_graphs = ebb::emulation::calls();
    EXPECT_GT(with_graphs.graphs, before.graphs) << "nothing was replayed";
    s.backend = &emulated_without_graphs;
    s.epochs_before += 10;  // the store remembers a group's last epoch
    RankGroup group(s);
    without = scores(group, params, spill, kMany);
    EXPECT_EQ(ebb::emulation::calls().graphs, with_graphs.graphs);
    ASSERT_EQ(with.size(), kMany);
    ASSERT_EQ(without.size(), kMany);
    for (uint32_t i = 0; i < kMany; ++i) {
      EXPECT_EQ(with[i].token, without[i].token) << "step " << i;
      EXPECT_EQ(with[i].top, without[i].top) << "step " << i << ": other bits";
    }
  }
  static control::Unit decode_unit() {
    control::Unit unit;
    unit.kind = control::UnitKind::kDecode;
    unit.decode.seqs = {SeqId{1}};
    return unit;
  }

  ebb::test::TempDir dir_;
  std::string model_;
  std::shared_ptr<const models::AdoreController> controller_;  ///< of groups from here on
};

}  // namespace ebb::worker::testing
