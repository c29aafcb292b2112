// The faithful modes on the real model against masked dense attention in PyTorch
// (tests/golden/make_policy_sets.py): the sets of every step, layer and head, outside 1 % of the
// K-th score, and what the model then says. Sums are rounded in another order, so now and then the
// K-th token is another one; what comes after it then stands on other KV. So a few positions may
// differ, where sets that are wrong in kind would differ in most.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

using nlohmann::json;
using Positions = std::set<Position>;
using SetName = std::tuple<uint32_t, uint32_t, uint32_t>;  // step, layer, head

/// Distances, one character each; '/' stands for 63 and goes on.
Positions unpacked(const std::string& text) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Positions positions;
  Position at = 0;
  for (char c : text) {
    const auto distance = static_cast<Position>(alphabet.find(c));
    at += distance;
    if (distance < 63) positions.insert(at);
  }
  return positions;
}

class PolicyGolden : public ::testing::Test {
 protected:
  PolicyGolden() {
    std::ifstream file(ebb::test::source_path("tests/golden/smollm2_policy_sets.json"));
    golden_ = json::parse(file);
  }

  RankGroup& group() {
    if (group_) return *group_;
    GroupSetup setup;
    setup.model_path = ebb::testing::real_model_path().value_or("");
    setup.device_kv_bytes = 64 << 20;
    setup.rows_max = 64;
    auto profile = models::read_selection_profile(
        ebb::test::source_path("configs/profiles/smollm2-135m-instruct.yaml"));
    EBB_CHECK(profile.has_value());
    setup.profile = *profile;
    group_ = std::make_unique<RankGroup>(setup);
    return *group_;
  }

  /// Runs one prompt of the file and compares every step.
  void compare(const json& prompt, const std::string& method, const control::PolicyParams& policy) {
    const json& expected = prompt[method];
    control::OpenUnit open;
    open.seq = SeqId{++last_seq_};
    open.prompt = prompt["ids"].get<std::vector<TokenId>>();
    open.decode_from = prompt["prompt"];
    open.max_tokens = 1;
    open.policy = policy;
    open.sampling.logprobs = 0;
    open.trace_selection = true;
    ASSERT_TRUE(group().open(open)[0].failures.empty());
    ASSERT_TRUE(group().prefill(open.seq, open.decode_from, 64)[0].failures.empty());
    std::map<SetName, Positions> sets;
    const json& logprobs = expected["logprobs"];
    double apart = 0;
    for (uint32_t step = 0; step < logprobs.size(); ++step) {
      const auto results = group().decode({open.seq});
      ASSERT_TRUE(results[0].failures.empty()) << results[0].failures[0].error.text();
      const auto& sequence = results[0].sequences.at(0);
      for (const auto& set : sequence.trace) {
        sets[{step, set.anchor, set.head}] = {set.positions.begin(), set.positions.end()};
      }
      apart += std::abs(sequence.prompt.at(0).logprob - logprobs[step].get<double>());
    }
    EXPECT_LT(apart / static_cast<double>(logprobs.size()), 0.1) << method << ", mean over steps";
    group().close(open.seq);
    compare_sets(expected["sets"], sets);
  }

  void compare_sets(const json& expected, const std::map<SetName, Positions>& sets) {
    ASSERT_EQ(sets.size(), expected.size());
    size_t wrong = 0, all = 0;
    for (const json& record : expected) {
      const auto found = sets.find({record[0], record[1], record[2]});
      ASSERT_NE(found, sets.end()) << record.dump();
      const Positions wanted = unpacked(record[3]), open = unpacked(record[4]);
      EXPECT_EQ(found->second.size(), wanted.size());
      for (Position p : wanted) wrong += open.contains(p) || found->second.contains(p) ? 0 : 1;
      for (Position p : found->second) wrong += open.contains(p) || wanted.contains(p) ? 0 : 1;
      all += 2 * wanted.size();
    }
    EXPECT_LE(100 * wrong, all) << wrong << " of " << all << " positions";
  }

  json golden_;

 private:
  std::unique_ptr<RankGroup> group_;
  uint64_t last_seq_ = 0;
};

TEST_F(PolicyGolden, TidalDecodeChoosesAsItsPaperSays) {
  ASSERT_TRUE(ebb::testing::real_model_path().has_value()) << ebb::testing::kNoRealModel;
  control::PolicyParams policy;
  policy.kind = control::PolicyKind::kTidal;
  policy.budget = golden_["tidal"]["budget"];
  policy.select_layers = golden_["tidal"]["layers"].get<std::vector<uint32_t>>();
  policy.scope = SetScope::kQueryHead;
  policy.sinks = policy.window = 0;
  for (const json& prompt : golden_["prompts"]) compare(prompt, "tidal", policy);
}

TEST_F(PolicyGolden, RecycledAttentionChoosesAsItsPaperSays) {
  ASSERT_TRUE(ebb::testing::real_model_path().has_value()) << ebb::testing::kNoRealModel;
  control::PolicyParams policy;
  policy.kind = control::PolicyKind::kRecycled;
  policy.scope = SetScope::kKvHead;
  policy.budget = golden_["recycled"]["budget"];
  policy.stride = golden_["recycled"]["stride"];
  policy.pool = golden_["recycled"]["pool"];
  policy.sinks = policy.window = 0;
  for (const json& prompt : golden_["prompts"]) compare(prompt, "recycled", policy);
}

}  // namespace
}  // namespace ebb::worker::testing
