#include "worker/attention/policy.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ebb::worker {
namespace {

models::SelectionProfile profile() {
  models::SelectionProfile p;
  p.name = "test";
  p.layers = 6;
  p.anchors = {0, 2, 4};
  p.budget_min = 64;
  p.sinks = 4;
  p.window = 8;
  return p;
}

const std::vector<uint32_t> kNoWindows(6, 0);

control::PolicyParams tidal(uint32_t budget) { return {control::PolicyKind::kTidal, budget, 4, 8}; }

TEST(TidalPolicy, AnchorsSelectAndFollowersReadTheNearestAnchorBelow) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  for (uint32_t layer = 0; layer < 6; ++layer) {
    const LayerPlan plan = policy->layer_plan(layer, 100);
    if (layer % 2 == 0) {
      EXPECT_TRUE(plan.selects);
      EXPECT_EQ(plan.reads, LayerPlan::Reads::kAll);
    } else {
      EXPECT_FALSE(plan.selects);
      EXPECT_EQ(plan.reads, LayerPlan::Reads::kSet);
      EXPECT_EQ(plan.anchor, layer - 1);
    }
  }
}

TEST(TidalPolicy, IsDenseWhileTheBudgetCoversEverything) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  EXPECT_FALSE(policy->layer_plan(0, 20).selects);
  EXPECT_EQ(policy->layer_plan(1, 20).reads, LayerPlan::Reads::kAll);
  EXPECT_TRUE(policy->layer_plan(0, 21).selects);
}

TEST(TidalPolicy, SetsHaveExactlyKTokensWithSinksAndWindowAlwaysIn) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  const SelectionRequest request = policy->request(2, 100);
  EXPECT_EQ(request.begin, 4u);
  EXPECT_EQ(request.end, 92u);
  EXPECT_EQ(request.take, 8u);
  const auto set = policy->compose(2, 100, {10, 11, 20, 21, 30, 31, 40, 41});
  EXPECT_EQ(set.size(), 20u);
  EXPECT_TRUE(std::is_sorted(set.begin(), set.end()));
  EXPECT_EQ(set.front(), 0u);
  EXPECT_EQ(set.back(), 99u) << "the current token is in the set";
}

TEST(TidalPolicy, KvIsExactUpToTheFirstFollowerOnly) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  EXPECT_TRUE(policy->exact_at(0));
  EXPECT_TRUE(policy->exact_at(1)) << "its input comes from a dense layer";
  EXPECT_FALSE(policy->exact_at(2));
  EXPECT_TRUE(make_dense_policy()->exact_at(5));
}

TEST(TidalPolicy, ChoosesAmongWhatTheAnchorAndItsFollowersSee) {
  // Anchor 0 sees 50 tokens and its follower 30; anchor 2 sees all, its follower 40.
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{50, 30, 0, 40, 0, 0});
  const SelectionRequest near = policy->request(0, 100);
  EXPECT_EQ(near.begin, 70u);
  EXPECT_EQ(near.end, 92u);
  EXPECT_EQ(near.take, 12u) << "the sinks are out of sight: their places go to others";
  const auto set = policy->compose(0, 100, {70, 75, 80});
  EXPECT_EQ(set.front(), 70u);
  EXPECT_EQ(set.size(), 11u);
  EXPECT_EQ(policy->request(2, 100).begin, 60u);
  const SelectionRequest partly = policy->request(2, 42);
  EXPECT_EQ(partly.begin, 4u);
  EXPECT_EQ(partly.take, 10u) << "sinks 2 and 3 are still seen";
  EXPECT_EQ(policy->compose(2, 42, {10}).front(), 2u);
}

TEST(TidalPolicy, ForcesSinksForFollowersThatSeeFartherThanTheirAnchor) {
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{30, 0, 0, 0, 0, 0});
  const SelectionRequest request = policy->request(0, 100);
  EXPECT_EQ(request.begin, 70u) << "the anchor has no score for what it cannot see";
  EXPECT_EQ(request.take, 8u);
  EXPECT_EQ(policy->compose(0, 100, {}).front(), 0u);
}

TEST(TidalPolicy, WindowsThatTheBudgetCoversAreReadWhole) {
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{20, 20, 0, 0, 0, 21});
  EXPECT_FALSE(policy->layer_plan(0, 1000).selects);
  EXPECT_EQ(policy->layer_plan(1, 1000).reads, LayerPlan::Reads::kAll);
  EXPECT_EQ(policy->layer_plan(3, 1000).reads, LayerPlan::Reads::kSet);
  EXPECT_EQ(policy->layer_plan(5, 1000).reads, LayerPlan::Reads::kSet);
  EXPECT_TRUE(policy->exact_at(3)) << "below it everything that can be seen is read";
  EXPECT_FALSE(policy->exact_at(4));
}

TEST(MakePolicy, RefusesNumbersThatCannotWorkAndNamesThem) {
  auto refused = make_policy(profile(), tidal(12), kNoWindows);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("budget (12)"), std::string::npos);
  models::SelectionProfile bare = profile();
  bare.anchors.clear();
  refused = make_policy(bare, tidal(64), kNoWindows);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("no anchors"), std::string::npos);
  EXPECT_TRUE(make_policy(bare, {}, kNoWindows));
}

}  // namespace
}  // namespace ebb::worker
