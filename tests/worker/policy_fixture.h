// Small random models, engines over them and the double reference beside them: what the tests of
// attention policies share. Sequences are teacher-forced, so that both walk over the same tokens.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"
#include "tests/worker/reference_model.h"

namespace ebb::worker::testing {

using control::PolicyKind;
using control::PolicyParams;

/// A last bit of difference in f32 can flip the rounding of a K or V element to bf16, which is
/// 2^-9 of it.
constexpr double kRounding = 5e-3;

/// What one step put out: log-probabilities of the whole vocabulary, and its sets.
struct Step {
  std::vector<double> logprobs;
  std::vector<control::SelectionTrace> trace;
};

inline double distance(const std::vector<double>& a, const std::vector<double>& b) {
  EBB_CHECK(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

class PolicyFixture : public ::testing::Test {
 protected:
  ebb::testing::TinyLlamaOptions model_;       ///< 2 layers, 4 query heads over 2 KV heads of 16
  std::shared_ptr<const TokenScorer> scorer_;  ///< of groups that are made from here on
  std::vector<uint32_t> windows_;              ///< instead of the model's

  static std::vector<TokenId> tokens(uint64_t seed, uint32_t count) {
    ebb::testing::TinyRandom random(seed);
    std::vector<TokenId> ids;
    for (uint32_t i = 0; i < count; ++i)
      ids.push_back(static_cast<TokenId>(3 + random.next() % 256));
    return ids;
  }

  RankGroup& group(uint32_t ranks = 1) {
    auto& made = groups_[ranks];
    if (made) return *made;
    GroupSetup s;
    s.model_path = path();
    s.ranks = ranks;
    s.device_kv_bytes = 32 << 20;
    s.profile.name = "tiny";
    s.profile.model_name = model_.name;
    s.profile.layers = model_.layers;
    s.profile.anchors = {0};
    s.profile.budget_min = 32;
    s.profile.sinks = 4;
    s.profile.window = 8;
    s.rows_max = 64;
    s.scorer = scorer_;
    s.windows = windows_;
    made = std::make_unique<RankGroup>(s);
    return *made;
  }
  ReferenceModel reference() {
    auto files = models::ModelFiles::open(path());
    EBB_CHECK(files.has_value());
    return ReferenceModel(**files);
  }

  /// Opens a sequence whose prompt's tokens from `from` on go through the decode path, and runs the
  /// bulk pass.
  void open(RankGroup& on, SeqId seq, const std::vector<TokenId>& ids, uint32_t from,
            const PolicyParams& policy, uint32_t chunk = 16) {
    control::OpenUnit unit;
    unit.seq = seq;
    unit.prompt = ids;
    unit.max_tokens = 1;
    unit.decode_from = from;
    unit.policy = policy;
    unit.sampling.temperature = 0;
    unit.sampling.logprobs = static_cast<int32_t>(model_.vocabulary);
    unit.trace_selection = true;
    const auto opened = on.open(unit);
    ASSERT_TRUE(opened[0].failures.empty()) << opened[0].failures[0].error.text();
    const auto filled = on.prefill(seq, from, chunk);
    ASSERT_TRUE(filled[0].failures.empty()) << filled[0].failures[0].error.text();
  }
  static Step step_of(const control::SequenceResult& result) {
    Step step;
    step.trace = result.trace;
    const auto& token = result.has_token ? result.token : result.prompt.at(0);
    step.logprobs.resize(token.top.size());
    for (auto [id, logprob] : token.top) step.logprobs.at(static_cast<size_t>(id)) = logprob;
    return step;
  }
  static std::vector<Step> decode(RankGroup& on, const std::vector<SeqId>& seqs) {
    std::vector<Step> steps;
    const auto results = on.decode(seqs);
    for (const auto& r : results) {
      EXPECT_TRUE(r.failures.empty()) << r.failures[0].error.text();
    }
    for (const auto& s : results[0].sequences) steps.push_back(step_of(s));
    for (size_t rank = 1; rank < results.size(); ++rank) {
      for (size_t i = 0; i < results[rank].sequences.size(); ++i) {
        for (const auto& trace : results[rank].sequences[i].trace) {
          if (trace.scope != SetScope::kLayer) steps[i].trace.push_back(trace);
        }
      }
    }
    return steps;
  }
  /// Every token from `from` on through the decode path; what each step put out.
  std::vector<Step> run(RankGroup& on, const std::vector<TokenId>& ids, uint32_t from,
                        const PolicyParams& policy, uint32_t chunk = 16) {
    const SeqId seq{++last_seq_};
    open(on, seq, ids, from, policy, chunk);
    std::vector<Step> steps;
    for (size_t at = from; at < ids.size() && !HasFatalFailure(); ++at) {
      steps.push_back(decode(on, {seq}).at(0));
    }
    map_ = on.close(seq)[0].maps.at(0);
    return steps;
  }
  void expect_same_bits(const std::vector<Step>& a, const std::vector<Step>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].logprobs, b[i].logprobs) << "step " << i;
  }
  SeqId next_seq() { return SeqId{++last_seq_}; }
  void drop_groups() { groups_.clear(); }

  control::SequenceMap map_;  ///< of the last run()

 private:
  std::string path() {
    const std::string path = dir_.path("tiny.gguf");
    if (!written_) ebb::testing::write_tiny_llama(path, model_);
    written_ = true;
    return path;
  }
  ebb::test::TempDir dir_;
  bool written_ = false;
  std::map<uint32_t, std::unique_ptr<RankGroup>> groups_;
  uint64_t last_seq_ = 0;
};

}  // namespace ebb::worker::testing
