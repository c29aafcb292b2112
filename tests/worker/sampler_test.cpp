#include "worker/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace ebb::worker {
namespace {

control::SamplingParams with(float temperature, uint32_t top_k, float top_p, uint64_t seed) {
  control::SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.seed = seed;
  return params;
}

TEST(Sampler, IsGreedyAtTemperatureZeroAndTakesTheLowerIdOnATie) {
  const std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(sample_token(logits, with(0, 0, 1, 9), 5), 1);
}

TEST(Sampler, DependsOnSeedAndPositionAlone) {
  const std::vector<float> logits(1000, 0.5f);
  const auto params = with(1, 0, 1, 42);
  EXPECT_EQ(sample_token(logits, params, 7), sample_token(logits, params, 7));
  std::map<TokenId, int> seen;
  for (Position p = 0; p < 50; ++p) ++seen[sample_token(logits, params, p)];
  EXPECT_GT(seen.size(), 40u);
}

TEST(Sampler, DrawsWithTheModelsProbabilities) {
  const std::vector<float> logits = {std::log(0.7f), std::log(0.2f), std::log(0.1f)};
  std::map<TokenId, int> seen;
  const int draws = 20000;
  for (Position p = 0; p < draws; ++p) ++seen[sample_token(logits, with(1, 0, 1, 3), p)];
  EXPECT_NEAR(seen[0] / double(draws), 0.7, 0.02);
  EXPECT_NEAR(seen[2] / double(draws), 0.1, 0.01);
}

TEST(Sampler, TopKAndTopPKeepOnlyTheBest) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  for (Position p = 0; p < 2000; ++p) {
    EXPECT_LT(sample_token(logits, with(1, 2, 1, 1), p), 2);
    EXPECT_LT(sample_token(logits, with(1, 0, 0.6f, 1), p), 2)
        << "the token that crosses 0.6 is kept";
    EXPECT_EQ(sample_token(logits, with(1, 0, 0.4f, 1), p), 0);
    EXPECT_EQ(sample_token(logits, with(5, 1, 1, 1), p), 0);
  }
}

TEST(Sampler, ScoresAreLogProbabilitiesWithTheBestFirst) {
  const std::vector<float> logits = {0, 2, 1, 2};
  const auto scored = score_token(logits, 2, 3);
  double sum = 0;
  for (float l : logits) sum += std::exp(l);
  EXPECT_NEAR(scored.logprob, 1 - std::log(sum), 1e-6);
  ASSERT_EQ(scored.top.size(), 3u);
  EXPECT_EQ(scored.top[0].first, 1);
  EXPECT_EQ(scored.top[1].first, 3);
  EXPECT_EQ(scored.top[2].first, 2);
}

TEST(Sampler, KeyedUniformStaysInTheUnitInterval) {
  for (uint64_t p = 0; p < 10000; ++p) {
    const double u = keyed_uniform(p * 77, p);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
  }
}

}  // namespace
}  // namespace ebb::worker
