// Divergences through the worker's decode path, against a decoder in double.
#include "score/calibrate_judge.h"

#include <cmath>
#include <limits>

#include "tests/score/calibrate_fixture.h"

namespace ebb::score {
namespace {

TEST(KlDivergence, IsThatOfTheTwoDistributions) {
  std::vector<float> p = {0, 0, std::log(2.0f)};  // 1/4, 1/4, 1/2
  const std::vector<float> q = {5, 5, 5};         // thirds
  to_log_probabilities(p);
  EXPECT_NEAR(kl_divergence(p, q), 0.5 * std::log(0.75) + 0.5 * std::log(1.5), 1e-6);
  EXPECT_NEAR(kl_divergence(p, p), 0, 1e-7);
}

class AnchorJudgeTest : public CalibrateFixture {
 protected:
  AnchorJudge judge_of(uint32_t batch, int texts = 2) {
    AnchorJudge judge(*model_, batch, [] { return Result<void>(); });
    for (int seed = 1; seed <= texts; ++seed)
      EBB_CHECK(judge.add(prefilled(static_cast<uint64_t>(seed))).has_value());
    return judge;
  }
  /// The same from the reference: layers below the first anchor read all.
  std::vector<double> expected(uint64_t seed, const Anchors& anchors, const SetSize& size) {
    ReferenceModel dense = reference(seed), sparse = reference(seed);
    std::vector<double> out;
    for (uint32_t step = 0; step < kSteps; ++step) {
      const TokenId id = tokens(seed)[kContext + step];
      std::vector<Position> set;
      const auto p = dense.step(id, ReferenceModel::all);
      const auto q = sparse.step(id, [&](const LayerScores& of) {
        const bool chooses = std::find(anchors.begin(), anchors.end(), of.layer) != anchors.end();
        if (chooses) set = set_of(of, size);
        return chooses ? ReferenceModel::all(of) : for_all_heads(of, set);
      });
      double sum = 0;
      for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
      out.push_back(sum);
    }
    return out;
  }
};

TEST_F(AnchorJudgeTest, EqualsADecoderInDouble) {
  AnchorJudge judge = judge_of(8);
  const SetSize size{20, 2, 6};
  const std::vector<Trial> trials = {{{0, 2}, 0, size, false, {}}, {{0, 3}, 1, size, false, {}}};
  const auto losses = judge.judge(trials);
  ASSERT_TRUE(losses) << losses.error().text();
  for (size_t i = 0; i < trials.size(); ++i) {
    const auto want = expected(i + 1, trials[i].anchors, size);
    ASSERT_EQ((*losses)[i].size(), kSteps);
    for (uint32_t step = 0; step < kSteps; ++step) {
      EXPECT_GT(want[step], 1e-6) << "nothing to compare";
      EXPECT_NEAR((*losses)[i][step] / want[step], 1, 1e-2) << "trial " << i << ", step " << step;
    }
  }
}

TEST_F(AnchorJudgeTest, NothingIsLostWhereTheBudgetCoversTheText) {
  AnchorJudge judge = judge_of(8, 1);
  const Trial trial{{0, 2}, 0, {kContext + kSteps, 4, 8}, false, {}};
  const auto losses = judge.judge(std::span(&trial, 1));
  ASSERT_TRUE(losses);
  for (const double loss : losses->at(0)) EXPECT_NEAR(loss, 0, 1e-6);
}

TEST_F(AnchorJudgeTest, ABatchIsWhatItsTrialsAreAlone) {
  const std::vector<Trial> trials = {{{0, 1}, 0, {20, 2, 6}, false, {}},
                                     {{0, 2}, 1, {30, 4, 8}, false, {}},
                                     {{0, 2, 4}, 0, {16, 0, 4}, false, {}},
                                     {{0}, 1, {24, 2, 6}, false, {}}};
  AnchorJudge together = judge_of(3), alone = judge_of(1);
  const auto a = together.judge(trials);
  const auto b = alone.judge(trials);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(*a, *b);
}

TEST_F(AnchorJudgeTest, ByDigestsLayersChooseForThemselvesEachAsMuchAsItIsGiven) {
  AnchorJudge judge = judge_of(8, 1);
  const SetSize size{20, 2, 6};
  const Anchors every = {2, 3, 4};
  const std::vector<Trial> trials = {{every, 0, size, true, {}},
                                     {every, 0, size, true, {20, 20, 20, 20, 20}},
                                     {every, 0, size, true, {20, 20, 12, 20, 28}},
                                     {every, 0, size, true, {20, 20, 200, 200, 200}}};
  const auto losses = judge.judge(trials);
  ASSERT_TRUE(losses) << losses.error().text();
  EXPECT_EQ(losses->at(0), losses->at(1)) << "alike is alike";
  for (const double loss : losses->at(0)) EXPECT_GT(loss, 1e-7) << "nothing to compare";
  EXPECT_NE(losses->at(0), losses->at(2));
  for (const double loss : losses->at(3)) EXPECT_NEAR(loss, 0, 1e-6) << "everything is read";
}

TEST_F(AnchorJudgeTest, WhatThePolicyRefusesIsAnError) {
  AnchorJudge judge = judge_of(2, 1);
  const Trial trial{{0, 2}, 0, {10, 4, 8}, false, {}};
  const auto losses = judge.judge(std::span(&trial, 1));
  ASSERT_FALSE(losses);
  EXPECT_EQ(losses.error().code, Code::kInvalid);
}

TEST_F(AnchorJudgeTest, MoreSequencesThanThereIsRoomForAreRefused) {
  ASSERT_TRUE(model_->reserve(2, 128));
  AnchorJudge judge = judge_of(8, 1);
  const std::vector<Trial> trials(2, Trial{{0, 2}, 0, {20, 2, 6}, false, {}});
  const auto losses = judge.judge(trials);
  ASSERT_FALSE(losses);
  EXPECT_EQ(losses.error().code, Code::kExhausted);
}

}  // namespace
}  // namespace ebb::score
