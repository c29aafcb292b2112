#include "score/budget_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace ebb::score {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

/// Errors that fall with the square of what is read: error = scale / fraction^2.
std::vector<OwnErrors> squares(const std::vector<double>& scales) {
  std::vector<OwnErrors> measured;
  for (const double fraction : {1.0 / 16, 1.0 / 8, 1.0 / 4}) {
    measured.push_back({fraction, {}});
    for (const double scale : scales) measured.back().errors.push_back(scale / fraction / fraction);
  }
  return measured;
}

TEST(WeighLayers, WhoHasTheSameErrorsHasTheSameShare) {
  EXPECT_THAT(weigh_layers(squares({5, 1, 1, 1}), 0.125, 1), Each(1.0));
}

TEST(WeighLayers, TheShareIsWhereTheNextTokenHelpsAllAlike) {
  // scale / f^2 has the derivative 2 scale / f^3: twice the share for eight times the scale.
  const auto weights = weigh_layers(squares({1, 8, 1}), 0.125, 0);
  EXPECT_NEAR(weights[1] / weights[0], 2, 0.15);
  EXPECT_NEAR(weights[0], weights[2], 1.0 / 32);
}

TEST(WeighLayers, TheirMeanIsOneAndTheirLimitsHold) {
  const auto weights = weigh_layers(squares({1, 1, 1e-6, 1e6, 3, 7, 1e-9}), 0.125, 2);
  EXPECT_EQ(std::accumulate(weights.begin() + 2, weights.end(), 0.0), 5.0);
  for (size_t layer = 2; layer < weights.size(); ++layer) {
    EXPECT_GE(weights[layer], 0.5) << layer;
    EXPECT_LE(weights[layer], 2.0) << layer;
  }
  EXPECT_EQ(weights[0], 1.0);
  EXPECT_EQ(weights[1], 1.0);
  EXPECT_EQ(weights[3], 2.0);
  EXPECT_EQ(weights[6], 0.5);
}

TEST(WeighLayers, LayersWithoutAnyErrorLeaveTheirsToOthers) {
  EXPECT_THAT(weigh_layers(squares({0, 1, 0}), 0.125, 0), ElementsAre(0.5, 2.0, 0.5));
}

TEST(WeighLayers, AmongEqualsTheLowerLayerComesFirst) {
  // Nobody has an error: the steps go from below.
  EXPECT_THAT(weigh_layers(squares({0, 0, 0}), 0.125, 0), ElementsAre(2.0, 0.5, 0.5));
}

}  // namespace
}  // namespace ebb::score
