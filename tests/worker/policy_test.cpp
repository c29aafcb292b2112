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

control::PolicyParams tidal(uint32_t budget) {
  control::PolicyParams params;
  params.kind = control::PolicyKind::kTidal;
  params.budget = budget;
  params.window = 8;
  return params;
}

TEST(TidalPolicy, AnchorsSelectAndFollowersReadTheNearestAnchorBelow) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  for (uint32_t layer = 0; layer < 6; ++layer) {
    const LayerPlan plan = policy->plan(layer, {100, 1});
    if (layer % 2 == 0) {
      EXPECT_TRUE(plan.selects);
      EXPECT_EQ(plan.reads, LayerPlan::Reads::kAll);
    } else {
      EXPECT_FALSE(plan.selects);
      EXPECT_EQ(plan.reads, LayerPlan::Reads::kSet);
      EXPECT_EQ(plan.owner, layer - 1);
    }
  }
}

TEST(TidalPolicy, IsDenseWhileTheBudgetCoversEverything) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  EXPECT_FALSE(policy->plan(0, {20, 1}).selects);
  EXPECT_EQ(policy->plan(1, {20, 1}).reads, LayerPlan::Reads::kAll);
  EXPECT_TRUE(policy->plan(0, {21, 1}).selects);
}

TEST(TidalPolicy, SetsHaveExactlyKTokensWithSinksAndWindowAlwaysIn) {
  const auto policy = make_tidal_policy(profile(), tidal(20), kNoWindows);
  const Selection request = policy->selection(2, 100);
  EXPECT_EQ(request.begin, 4u);
  EXPECT_EQ(request.end, 92u);
  EXPECT_EQ(request.take, 8u);
  const auto set = policy->compose(2, 100, {{10, 11, 20, 21, 30, 31, 40, 41}}).lists.at(0);
  EXPECT_EQ(set.size(), 20u);
  EXPECT_TRUE(std::is_sorted(set.begin(), set.end()));
  EXPECT_EQ(set.front(), 0u);
  EXPECT_EQ(set.back(), 99u) << "the current token is in the set";
}

TEST(TidalPolicy, ChoosesAmongWhatTheAnchorAndItsFollowersSee) {
  // Anchor 0 sees 50 tokens and its follower 30; anchor 2 sees all, its follower 40.
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{50, 30, 0, 40, 0, 0});
  const Selection near = policy->selection(0, 100);
  EXPECT_EQ(near.begin, 70u);
  EXPECT_EQ(near.end, 92u);
  EXPECT_EQ(near.take, 12u) << "the sinks are out of sight: their places go to others";
  const auto set = policy->compose(0, 100, {{70, 75, 80}}).lists.at(0);
  EXPECT_EQ(set.front(), 70u);
  EXPECT_EQ(set.size(), 11u);
  EXPECT_EQ(policy->selection(2, 100).begin, 60u);
  const Selection partly = policy->selection(2, 42);
  EXPECT_EQ(partly.begin, 4u);
  EXPECT_EQ(partly.take, 10u) << "sinks 2 and 3 are still seen";
  EXPECT_EQ(policy->compose(2, 42, {{10}}).lists.at(0).front(), 2u);
}

TEST(TidalPolicy, ForcesSinksForFollowersThatSeeFartherThanTheirAnchor) {
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{30, 0, 0, 0, 0, 0});
  const Selection request = policy->selection(0, 100);
  EXPECT_EQ(request.begin, 70u) << "the anchor has no score for what it cannot see";
  EXPECT_EQ(request.take, 8u);
  EXPECT_EQ(policy->compose(0, 100, {{}}).lists.at(0).front(), 0u);
}

TEST(TidalPolicy, WindowsThatTheBudgetCoversAreReadWhole) {
  const auto policy =
      make_tidal_policy(profile(), tidal(20), std::vector<uint32_t>{20, 20, 0, 0, 0, 21});
  EXPECT_FALSE(policy->plan(0, {1000, 1}).selects);
  EXPECT_EQ(policy->plan(1, {1000, 1}).reads, LayerPlan::Reads::kAll);
  EXPECT_EQ(policy->plan(3, {1000, 1}).reads, LayerPlan::Reads::kSet);
  EXPECT_EQ(policy->plan(5, {1000, 1}).reads, LayerPlan::Reads::kSet);
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
