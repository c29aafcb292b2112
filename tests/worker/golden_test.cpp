// The real model against a float32 reference that shares no code with us (tests/golden/README.md):
// teacher-forced, so that one different token cannot hide or make the next.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

using nlohmann::json;

constexpr double kClearMargin = 0.2;      // nats between the best and the second token
constexpr double kMeanDifference = 0.05;  // nats

class GoldenTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    const auto path = ebb::testing::real_model_path();
    ASSERT_TRUE(path.has_value()) << ebb::testing::kNoRealModel;
    std::ifstream file(ebb::test::source_path("tests/golden/smollm2_reference.json"));
    ASSERT_TRUE(file.good());
    golden_ = json::parse(file);
    GroupSetup setup;
    setup.model_path = *path;
    setup.ranks = GetParam();
    setup.device_kv_bytes = 64 << 20;
    auto profile = models::read_selection_profile(
        ebb::test::source_path("configs/profiles/smollm2-135m-instruct.yaml"));
    ASSERT_TRUE(profile) << profile.error().message;
    setup.profile = *profile;
    group_ = std::make_unique<RankGroup>(setup);
  }

  control::OpenUnit unit(uint64_t seq, std::vector<TokenId> prompt) {
    control::OpenUnit open;
    open.seq = SeqId{seq};
    open.prompt = std::move(prompt);
    open.max_tokens = 1;
    open.sampling.temperature = 0;
    open.sampling.logprobs = 5;
    return open;
  }

  /// What the decode path says at each of `steps` positions from decode_from - 1 on: the five best.
  std::vector<std::vector<std::pair<TokenId, float>>> forced(control::OpenUnit open,
                                                             uint32_t steps) {
    const SeqId seq = open.seq;
    const uint32_t from = open.decode_from;
    group_->open(std::move(open));
    std::vector<std::vector<std::pair<TokenId, float>>> best;
    auto results = group_->prefill(seq, from, 256);
    for (uint32_t i = 0;; ++i) {
      EXPECT_TRUE(results[0].failures.empty());
      const auto& result = results[0].sequences.at(0);
      best.push_back(result.has_token ? result.token.top : result.prompt.at(0).top);
      if (i + 1 == steps) break;
      results = group_->decode({seq});
    }
    group_->close(seq);
    return best;
  }

  json golden_;
  std::unique_ptr<RankGroup> group_;
};

TEST_P(GoldenTest, TheBestTokenAgreesWhereverTheReferenceIsClear) {
  uint64_t seq = 0;
  uint32_t clear = 0;
  for (const json& prompt : golden_["prompts"]) {
    std::vector<TokenId> ids = prompt["ids"];
    const auto from = static_cast<uint32_t>(ids.size());
    const std::vector<TokenId> continuation = prompt["continuation"];
    ids.insert(ids.end(), continuation.begin(), continuation.end() - 1);
    control::OpenUnit open = unit(++seq, ids);
    open.decode_from = from;
    const auto best = forced(open, 32);
    for (size_t step = 0; step < 32; ++step) {
      const json& expected = prompt["steps"][step];
      if (expected["margin"].get<double>() <= kClearMargin) continue;
      ++clear;
      EXPECT_EQ(best[step][0].first, expected["best"].get<TokenId>())
          << prompt["name"] << " step " << step << " margin " << expected["margin"];
    }
  }
  EXPECT_GT(clear, 100u) << "most of the 160 steps are clear in the reference";
}

TEST_P(GoldenTest, LogProbabilitiesOfATextAgreeOnAverage) {
  const std::vector<TokenId> ids = golden_["text"]["ids"];
  control::OpenUnit open = unit(1, ids);
  open.decode_from = static_cast<uint32_t>(ids.size());
  open.sampling.prompt_logprobs = true;
  group_->open(open);
  group_->prefill(SeqId{1}, static_cast<uint32_t>(ids.size()), 128);
  const auto& scores = group_->prompt_scores;
  ASSERT_EQ(scores.size(), ids.size() - 1);
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(scores[i].token, ids[i + 1]);
    sum += std::abs(scores[i].logprob - golden_["text"]["logprobs"][i + 1].get<double>());
  }
  const double mean = sum / static_cast<double>(scores.size());
  RecordProperty("mean_difference", std::to_string(mean));
  EXPECT_LT(mean, kMeanDifference);
}

INSTANTIATE_TEST_SUITE_P(Ranks, GoldenTest, ::testing::Values(1u, 2u),
                         [](const auto& p) { return "tp" + std::to_string(p.param); });

}  // namespace
}  // namespace ebb::worker::testing
