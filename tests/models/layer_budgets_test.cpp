#include "models/layer_budgets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::models {
namespace {

using ::testing::ElementsAre;

TEST(DealBudget, TheMeanOverLayersThatReadASetIsTheBudget) {
  const std::vector<double> weights = {9, 1, 3, 1, 1};
  const std::vector<LayerRange> each = {{1, 2}, {2, 3}, {3, 4}, {4, 5}};
  EXPECT_THAT(deal_budget(60, 0, weights, each), ElementsAre(60, 40, 120, 40, 40));
}

TEST(DealBudget, LayersThatShareASetHaveTheMeanOfTheirWeights) {
  const std::vector<double> weights = {1, 3, 1, 2, 2, 1};
  const std::vector<LayerRange> shared = {{1, 3}, {4, 6}};  // means 2 and 1.5
  EXPECT_THAT(deal_budget(70, 0, weights, shared), ElementsAre(70, 80, 80, 70, 60, 60));
}

TEST(DealBudget, WeightsCountBesideEachOtherOnly) {
  const std::vector<LayerRange> each = {{0, 1}, {1, 2}, {2, 3}};
  const std::vector<double> weights = {0.5, 1, 1.5};
  std::vector<double> larger = weights;
  for (double& weight : larger) weight *= 2.5;
  EXPECT_EQ(deal_budget(96, 0, weights, each), deal_budget(96, 0, larger, each));
}

TEST(DealBudget, WhatIsForcedIsInEverySetAndOneTokenMore) {
  const std::vector<LayerRange> each = {{0, 1}, {1, 2}};
  EXPECT_THAT(deal_budget(108, 8, std::vector<double>{0.5, 1.5}, each), ElementsAre(58, 158));
  EXPECT_THAT(deal_budget(10, 8, std::vector<double>{0.25, 4}, each), ElementsAre(9, 12));
}

TEST(DealBudget, WithoutHandsEveryLayerHasTheBudget) {
  EXPECT_THAT(deal_budget(7, 0, std::vector<double>{2, 1}, {}), ElementsAre(7, 7));
}

TEST(BandHotTokens, APoolIsInProportionToTheBandsLargestSet) {
  const std::vector<uint32_t> budgets = {100, 50, 75, 200};
  EXPECT_EQ(band_hot_tokens(200, 100, 16, {}, {1, 3}), 200u);
  EXPECT_EQ(band_hot_tokens(200, 100, 16, budgets, {1, 3}), 150u);
  EXPECT_EQ(band_hot_tokens(200, 100, 16, budgets, {3, 4}), 400u);
  EXPECT_EQ(band_hot_tokens(117, 100, 16, budgets, {3, 4}), 234u);
  EXPECT_EQ(band_hot_tokens(101, 100, 16, budgets, {3, 4}), 217u) << "set, granule, newest token";
  EXPECT_EQ(band_hot_tokens(4000000000u, 1, 16, std::vector<uint32_t>{1}, {0, 1}), 4000000000u);
}

}  // namespace
}  // namespace ebb::models
