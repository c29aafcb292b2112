#include "worker/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>

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

TokenId sample_token(std::span<const float> logits, const control::SamplingParams& params,
                     Position position) {
  Sampler sampler;
  return sampler.sample(logits, params, position);
}

/// Logits of a random distribution, some of them equal.
std::vector<float> random_logits(std::mt19937_64& random, size_t count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = std::round(normal(random) * 4) / 4;
  return logits;
}

/// The probabilities with which tokens must be drawn, by the definitions in docs/sampling.md: whole
/// sorts, in double.
std::vector<double> reference(std::span<const float> logits,
                              const control::SamplingParams& params) {
  struct Entry {
    size_t id;
    double p;
  };
  std::vector<Entry> kept;
  const double best = *std::max_element(logits.begin(), logits.end());
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isinf(logits[id])) continue;
    kept.push_back({id, std::exp((logits[id] - best) / double{params.temperature})});
  }
  const auto normalise = [&] {
    double sum = 0;
    for (const Entry& entry : kept) sum += entry.p;
    for (Entry& entry : kept) entry.p /= sum;
  };
  const auto better = [&](const Entry& a, const Entry& b) {
    return logits[a.id] != logits[b.id] ? logits[a.id] > logits[b.id] : a.id < b.id;
  };
  const auto keep_until = [&](double share) {
    double reached = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      reached += kept[i].p;
      if (reached >= share - 1e-12) return kept.resize(i + 1);
    }
  };
  std::stable_sort(kept.begin(), kept.end(), better);
  if (params.top_k > 0 && params.top_k < kept.size()) kept.resize(params.top_k);
  normalise();
  if (params.typical_p < 1) {
    double entropy = 0;
    for (const Entry& entry : kept) entropy -= entry.p > 0 ? entry.p * std::log(entry.p) : 0;
    std::stable_sort(kept.begin(), kept.end(), [&](const Entry& a, const Entry& b) {
      const double da = std::abs(-std::log(a.p) - entropy), db = std::abs(-std::log(b.p) - entropy);
      return std::abs(da - db) > 1e-12 ? da < db : better(a, b);
    });
    keep_until(params.typical_p);
    std::stable_sort(kept.begin(), kept.end(), better);
    normalise();
  }
  if (params.top_p < 1) keep_until(params.top_p);
  normalise();
  if (params.min_p > 0) {
    const double most = kept[0].p;
    std::erase_if(kept, [&](const Entry& e) { return e.p < params.min_p * most; });
    normalise();
  }
  std::vector<double> out(logits.size());
  for (const Entry& entry : kept) out[entry.id] = entry.p;
  return out;
}

/// Draws many tokens: nothing outside the reference's set, and frequencies by a chi-square test.
/// The seeds are fixed, so the outcome is too; the limit is that of one false alarm in a million.
void expect_distribution(std::span<const float> logits, const control::SamplingParams& params) {
  const std::vector<double> expected = reference(logits, params);
  constexpr int kDraws = 4000;
  std::vector<int> seen(logits.size());
  Sampler sampler;
  for (Position p = 0; p < kDraws; ++p) {
    ++seen[static_cast<size_t>(sampler.sample(logits, params, p))];
  }
  double chi_square = 0, rest_expected = 0, rest_seen = 0;
  int cells = 0;
  const auto add = [&](double wanted, double got) {
    chi_square += (got - wanted) * (got - wanted) / wanted;
    ++cells;
  };
  for (size_t id = 0; id < logits.size(); ++id) {
    const double wanted = expected[id] * kDraws;
    if (wanted == 0) {
      ASSERT_EQ(seen[id], 0) << "token " << id << " is filtered away";
    }
    if (wanted >= 5) {
      add(wanted, seen[id]);
    } else {
      rest_expected += wanted;
      rest_seen += seen[id];
    }
  }
  if (rest_expected >= 5) add(rest_expected, rest_seen);
  // Wilson and Hilferty: the cube root of chi-square over its degrees of freedom is nearly normal.
  const double freedom = std::max(cells - 1, 1);
  const double spread = std::sqrt(2 / (9 * freedom));
  const double deviations = (std::cbrt(chi_square / freedom) - (1 - 2 / (9 * freedom))) / spread;
  EXPECT_LT(deviations, 4.9) << "chi-square " << chi_square << " of " << freedom;
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
  std::mt19937_64 random(1);
  for (const float temperature : {0.3f, 1.0f, 1.7f}) {
    expect_distribution(random_logits(random, 200), with(temperature, 0, 1, 3));
  }
}

TEST(Sampler, EachFilterKeepsWhatItsDefinitionKeeps) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 4; ++i) {
    const auto logits = random_logits(random, 120);
    auto params = with(1, 0, 1, 17 + static_cast<uint64_t>(i));
    params.top_k = 7;
    expect_distribution(logits, params);
    params = with(0.8f, 0, 0.85f, 23);
    expect_distribution(logits, params);
    params = with(1.2f, 0, 1, 29);
    params.min_p = 0.08f;
    expect_distribution(logits, params);
    params = with(1, 0, 1, 31);
    params.typical_p = 0.7f;
    expect_distribution(logits, params);
  }
}

TEST(Sampler, FiltersWorkOnWhatTheOneBeforeLeft) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 12; ++i) {
    auto params =
        with(0.5f + 0.1f * static_cast<float>(i), 5 + 20 * static_cast<uint32_t>(i), 0.95f, 37);
    params.typical_p = 0.9f;
    params.min_p = 0.01f * static_cast<float>(i);
    expect_distribution(random_logits(random, 100), params);
  }
}

/// The selection in chunks must not care where a chunk ends.
TEST(Sampler, KeepsTheSameSetAsAWholeSortWhateverItsSize) {
  std::mt19937_64 random(4);
  const auto logits = random_logits(random, 5000);
  for (const float top_p : {0.05f, 0.5f, 0.9f, 0.99f, 0.9999f}) {
    const auto params = with(2, 0, top_p, 5);
    const auto expected = reference(logits, params);
    Sampler sampler;
    for (Position p = 0; p < 150; ++p) {
      ASSERT_GT(expected[static_cast<size_t>(sampler.sample(logits, params, p))], 0) << top_p;
    }
  }
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  std::vector<float> logits(50, -std::numeric_limits<float>::infinity());
  logits[7] = -30;
  logits[11] = -31;
  std::map<TokenId, int> seen;
  for (Position p = 0; p < 500; ++p) ++seen[sample_token(logits, with(1.5f, 0, 0.99f, 1), p)];
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_EQ(sample_token(logits, with(0, 0, 1, 1), 0), 7);
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

TEST(Sampler, PenaltiesAndBiasFollowTheirFormulas) {
  control::SamplingParams params;
  params.repetition_penalty = 2;
  params.presence_penalty = 0.25f;
  params.frequency_penalty = 0.5f;
  params.logit_bias = {{0, 10}, {4, -100}};
  std::vector<float> logits = {1, 4, -4, 8, 3};
  const std::vector<SeenToken> seen = {{1, 0}, {2, 0}, {3, 3}};
  adjust_logits(logits, params, seen);
  EXPECT_THAT(logits, ::testing::ElementsAre(11, 2, -8, 4 - 0.25f - 3 * 0.5f, -97));
}

TEST(Sampler, RankCountsTheMoreProbable) {
  const std::vector<float> logits = {0, 2, 1, 2};
  EXPECT_EQ(rank_of_token(logits, 1), 1u);
  EXPECT_EQ(rank_of_token(logits, 3), 1u);
  EXPECT_EQ(rank_of_token(logits, 2), 3u);
  EXPECT_EQ(rank_of_token(logits, 0), 4u);
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
