// ADORE's controller against the same equations in double.
#include "worker/attention/gru_scores.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiny_llama.h"
#include "tests/worker/scorers.h"

namespace ebb::worker {
namespace {

using Vector = std::vector<double>;

constexpr uint32_t kHidden = 24, kWidth = 10;

models::AdoreController random_controller(uint64_t seed) {
  return testing::random_controller(seed, kHidden, kWidth);
}

/// rows * x + bias, `rows` [bias.size(), x.size()].
Vector affine(const std::vector<float>& rows, const std::vector<float>& bias, const Vector& x) {
  Vector out(bias.begin(), bias.end());
  for (size_t r = 0; r < out.size(); ++r) {
    for (size_t i = 0; i < x.size(); ++i) out[r] += double{rows[r * x.size() + i]} * x[i];
  }
  return out;
}

/// GRU states by token.
std::vector<Vector> states(const models::AdoreController& c, const std::vector<float>& embeddings) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  std::vector<Vector> all;
  Vector h(kWidth);
  for (size_t at = 0; at < embeddings.size(); at += kHidden) {
    const auto first = embeddings.begin() + static_cast<ptrdiff_t>(at);
    const Vector x = affine(c.input_weight, c.input_bias, Vector(first, first + kHidden));
    const Vector a = affine(c.gru_weight_ih, c.gru_bias_ih, x);
    const Vector b = affine(c.gru_weight_hh, c.gru_bias_hh, h);
    for (size_t i = 0; i < kWidth; ++i) {
      const double r = sigmoid(a[i] + b[i]);
      const double z = sigmoid(a[kWidth + i] + b[kWidth + i]);
      h[i] = (1 - z) * std::tanh(a[2 * kWidth + i] + r * b[2 * kWidth + i]) + z * h[i];
    }
    all.push_back(h);
  }
  return all;
}

double score(const models::AdoreController& c, Vector z, uint32_t bucket) {
  for (size_t i = 0; i < kWidth; ++i) z[i] += double{c.distance[bucket * kWidth + i]};
  Vector hidden = affine(c.head_weight, c.head_bias, z);
  for (double& x : hidden) x = x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  return affine(c.score_weight, c.score_bias, hidden)[0];
}

TEST(GruScores, Assertion10EqualADoubleReference) {
  const auto controller = random_controller(3);
  const GruScorer scorer(controller);
  const auto own = scorer.begin();
  const std::vector<float> embeddings = ebb::testing::TinyRandom(4).values(600 * kHidden, 1);
  const std::vector<TokenId> ids(600, 5);
  const auto expected = states(controller, embeddings);
  uint32_t told = 0;
  for (const uint32_t more : {1u, 99u, 1u, 1u, 498u}) {
    own->append(std::span(ids).first(more), embeddings.data() + uint64_t{told} * kHidden);
    told += more;
    ASSERT_EQ(own->length(), told);
  }
  for (const Position n : {1u, 64u, 65u, 600u, 599u}) {
    const auto scores = own->at(n);
    ASSERT_EQ(scores.size(), n);
    for (Position i = 0; i < n; ++i) {
      EXPECT_NEAR(scores[i], score(controller, expected[i], distance_bucket(n - i)), 1e-4)
          << "token " << i << " for " << n;
    }
  }
}

TEST(GruScores, GoingOnByOneHasTheBitsOfScoringAnew) {
  const GruScorer scorer(random_controller(5));
  const auto steps = scorer.begin(), anew = scorer.begin();
  const std::vector<float> embeddings = ebb::testing::TinyRandom(6).values(900 * kHidden, 1);
  const std::vector<TokenId> ids(900, 5);
  steps->append(ids, embeddings.data());
  anew->append(ids, embeddings.data());
  steps->at(10);
  for (Position n = 11; n < 900; ++n) {
    const auto scores = steps->at(n);
    if (n % 89 != 0 && n < 890) continue;
    anew->at(3);  // from another place altogether
    const auto all = anew->at(n);
    ASSERT_TRUE(std::equal(scores.begin(), scores.end(), all.begin(), all.end())) << n;
    const auto again = steps->at(n);
    EXPECT_TRUE(std::equal(again.begin(), again.end(), all.begin(), all.end())) << "a replay";
  }
}

TEST(GruScores, DistancesAreExactBelow64AndThenEightToTheOctave) {
  for (const uint32_t d : {1u, 2u, 63u, 64u}) EXPECT_EQ(distance_bucket(d), d);
  EXPECT_EQ(distance_bucket(69), 64u);
  EXPECT_EQ(distance_bucket(70), 65u);
  EXPECT_EQ(distance_bucket(127), 71u);
  EXPECT_EQ(distance_bucket(128), 72u);
  EXPECT_EQ(distance_bucket(8192), 64u + 8 * 7);
  EXPECT_EQ(distance_bucket(1u << 20), 175u);
  EXPECT_EQ(distance_bucket(0xffffffffu), 175u);
}

TEST(GruScores, NumbersThatOverflowAreNeverNan) {
  auto controller = random_controller(7);
  for (float& w : controller.head_weight) w *= 1e38f;
  for (float& w : controller.score_weight) w *= 1e30f;
  const GruScorer scorer(controller);
  const auto own = scorer.begin();
  const std::vector<TokenId> ids(20, 5);
  own->append(ids, ebb::testing::TinyRandom(8).values(20 * kHidden, 100).data());
  for (const float s : own->at(20)) EXPECT_FALSE(std::isnan(s));
}

}  // namespace
}  // namespace ebb::worker
