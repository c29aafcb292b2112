#include "models/layer_budgets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::models {
namespace {

using ::testing::ElementsAre;

TEST(DealBudget, TheMeanOverLayersThatReadASetIsTheBudget) {
  const std::vector<double> weights = {9, 1, 3, 1, 1};
  const std::vector<LayerRange> each = {{1, 2}, {2, 3}, {3, 4}, {4, 5}};
  EXPECT_THAT(deal_budget(60, 1, weights, each), ElementsAre(60, 40, 120, 40, 40));
}

TEST(DealBudget, LayersThatShareASetHaveTheMeanOfTheirWeights) {
  const std::vector<double> weights = {1, 3, 1, 2, 2, 1};
  const std::vector<LayerRange> shared = {{1, 3}, {4, 6}};  // means 2 and 1.5
  EXPECT_THAT(deal_budget(70, 1, weights, shared), ElementsAre(70, 80, 80, 70, 60, 60));
}

TEST(DealBudget, WeightsCountBesideEachOtherOnly) {
  const std::vector<LayerRange> each = {{0, 1}, {1, 2}, {2, 3}};
  const std::vector<double> weights = {0.5, 1, 1.5};
  std::vector<double> larger = weights;
  for (double& weight : larger) weight *= 2.5;
  EXPECT_EQ(deal_budget(96, 1, weights, each), deal_budget(96, 1, larger, each));
}

TEST(DealBudget, NoSetIsSmallerThanTheLeast) {
  const std::vector<LayerRange> each = {{0, 1}, {1, 2}};
  EXPECT_THAT(deal_budget(10, 8, std::vector<double>{0.25, 4}, each), ElementsAre(8, 19));
}

TEST(DealBudget, WithoutHandsEveryLayerHasTheBudget) {
  EXPECT_THAT(deal_budget(7, 1, std::vector<double>{2, 1}, {}), ElementsAre(7, 7));
}

}  // namespace
}  // namespace ebb::models
