// From a request to the parameters of a policy: defaults, limits, and what may be released.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cluster_config.h"
#include "coordinator/request_check.h"
#include "tests/coordinator/engine_samples.h"
#include "tests/support/temp_dir.h"

namespace ebb::coordinator::test {
namespace {

using control::PolicyKind;
using control::SetScope;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<CheckedRequest> check(GenerateRequest request, RequestRules rules = small_rules(),
                             uint64_t blocks = 10000) {
  return check_request(rules, small_arena(blocks), std::move(request));
}
void expect_refused(GenerateRequest request, const std::string& says,
                    RequestRules rules = small_rules()) {
  const auto refused = check(std::move(request), std::move(rules));
  ASSERT_FALSE(refused) << says;
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr(says));
}

TEST(PolicyRules, EveryPolicyMayBeTheConfigurationsDefault) {
  ebb::test::TempDir dir;
  const std::string path = dir.file("c.yaml", "version: 1\n");
  for (const PolicyKind kind : control::kPolicyKinds) {
    const auto loaded = load_cluster_config(path, {{"policy.name", control::policy_name(kind)}});
    EXPECT_TRUE(loaded) << loaded.error().message;
  }
}

TEST(PolicyRules, TheFaithfulVariantForcesNothingAndNamesItsLayers) {
  auto request = request_of(400, 4, PolicyKind::kTidal);
  request.options.variant = TidalVariant::kFaithful;
  const auto checked = check(request);
  ASSERT_TRUE(checked) << checked.error().text();
  const auto& policy = checked->open.policy;
  EXPECT_EQ(policy.scope, SetScope::kQueryHead);
  EXPECT_EQ(policy.sinks, 0u);
  EXPECT_EQ(policy.window, 0u);
  EXPECT_THAT(policy.select_layers, ElementsAre(2, 3));
  EXPECT_EQ(checked->size.hot_tokens, 0u) << "any row may be wanted";
}

TEST(PolicyRules, LessIsMoreTakesItsSinksOutOfTheRecentQuarter) {
  auto request = request_of(400, 4, PolicyKind::kTidal);
  request.options.variant = TidalVariant::kLessIsMore;
  request.budget = 64;
  const auto policy = check(request)->open.policy;
  EXPECT_TRUE(policy.rank_union);
  EXPECT_EQ(policy.sinks, 2u);
  EXPECT_EQ(policy.window, 14u);
  EXPECT_THAT(policy.select_layers, IsEmpty()) << "the profile's anchors";
}

TEST(PolicyRules, OnlySetsThatFollowTheBandsMayBeReleased) {
  auto request = request_of(400, 4, PolicyKind::kTidal);
  EXPECT_GT(check(request)->size.hot_tokens, 0u);
  auto changed = request;
  changed.options.correct_every = 64;
  EXPECT_EQ(check(changed)->size.hot_tokens, 0u);
  changed = request;
  changed.options.select_layers = {1, 3};
  EXPECT_EQ(check(changed)->size.hot_tokens, 0u);
  changed = request;
  changed.options.scope = SetScope::kKvHead;
  EXPECT_EQ(check(changed)->size.hot_tokens, 0u);
  const auto refused = check(changed, small_rules(), 100);
  ASSERT_FALSE(refused) << "an arena that is too small is not answered wrongly";
  EXPECT_THAT(refused.error().message, HasSubstr("of device KV under this policy"));
}

TEST(PolicyRules, AStreamMayRunPastTheContextInAnArenaThatDoesNotGrow) {
  auto request = request_of(6000, 1000000, PolicyKind::kStreaming);
  request.budget = 100;
  RequestRules rules = small_rules();
  rules.chunk_tokens = 64;
  const auto checked = check(request, rules);
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_EQ(checked->open.policy.sinks, 4u);
  EXPECT_EQ(checked->open.policy.window, 96u);
  EXPECT_EQ(checked->open.policy.kept, 164u);
  ASSERT_EQ(checked->placements.size(), 1u);
  EXPECT_EQ(checked->placements[0].bulk_blocks, 8u * 21) << "164 rows in blocks of 8, 8 layers";
  EXPECT_EQ(checked->placements[0].residency, Residency::kAll);
  request.max_tokens = 1u << 24;
  expect_refused(request, "a stream's 16777216", rules);
}

TEST(PolicyRules, AStreamsWindowIsCheckedAgainstContextAndBudget) {
  auto request = request_of(20, 4, PolicyKind::kStreaming);
  request.window = 4093;
  expect_refused(request, "4 + 4093, must be below the context of 4096");
  request.window = 10;
  request.budget = 20;
  expect_refused(request, "budget: 20 is not sinks + window, 4 + 10");
  request.window.reset();
  request.budget = 4;
  expect_refused(request, "window: must be at least 1");
  RequestRules rules = small_rules();
  rules.shape.rope_dynamic_factor = 2;
  expect_refused(request_of(20, 4, PolicyKind::kStreaming), "dynamic NTK", rules);
}

TEST(PolicyRules, RecycledHasADynamicScheduleUnlessItIsGivenAStride) {
  auto request = request_of(400, 4, PolicyKind::kRecycled);
  auto policy = check(request)->open.policy;
  EXPECT_EQ(policy.budget, 50u);
  EXPECT_EQ(policy.check_every, 5u);
  EXPECT_EQ(policy.similarity, 0.85f);
  EXPECT_EQ(policy.stride, 0u);
  EXPECT_EQ(policy.pool, 7u);
  request.options.stride = 10;
  policy = check(request)->open.policy;
  EXPECT_EQ(policy.stride, 10u);
  EXPECT_EQ(policy.check_every, 0u);
  request.options.check_every = 5;
  expect_refused(request, "stride: ");
  request.options = {};
  request.options.refresh = Refresh::kNone;
  policy = check(request)->open.policy;
  EXPECT_EQ(policy.stride + policy.check_every, 0u);
  request.options.stride = 5;
  expect_refused(request, "refresh: none");
}

RequestRules rules_with_controller() {
  RequestRules rules = small_rules();
  rules.has_controller = true;
  return rules;
}

TEST(PolicyRules, AdoreForcesNothingAndKeepsAPoolOnceItsPromptIsDone) {
  auto request = request_of(400, 4, PolicyKind::kAdore);
  request.budget = 64;
  const auto checked = check(request, rules_with_controller());
  ASSERT_TRUE(checked) << checked.error().text();
  const auto& policy = checked->open.policy;
  EXPECT_EQ(policy.sinks + policy.window, 0u);
  EXPECT_EQ(policy.rebuild, 4u);
  EXPECT_FALSE(policy.restores);
  EXPECT_EQ(policy.kept, 64u + 4 + 1);
  ASSERT_EQ(checked->placements.size(), 1u);
  EXPECT_EQ(checked->placements[0].residency, Residency::kAll);
  EXPECT_EQ(checked->placements[0].bulk_blocks, 8u * 50) << "400 rows in blocks of 8, 8 layers";
  EXPECT_EQ(checked->placements[0].decode_blocks, 8u * 9) << "69 rows";
  request.budget = 1000;
  EXPECT_EQ(check(request, rules_with_controller())->placements[0].decode_blocks, 8u * 51)
      << "never more than the text";
}

TEST(PolicyRules, AdoreRestoresWhereEveryRowFits) {
  auto request = request_of(400, 4, PolicyKind::kAdore);
  request.budget = 64;
  request.options.rebuild_mode = RebuildMode::kAuto;
  EXPECT_TRUE(check(request, rules_with_controller(), 8 * 51)->open.policy.restores);
  EXPECT_EQ(check(request, rules_with_controller(), 8 * 51)->placements[0].decode_blocks, 8u * 51);
  EXPECT_FALSE(check(request, rules_with_controller(), 8 * 50)->open.policy.restores);
  request.options.rebuild_mode = RebuildMode::kRestore;
  EXPECT_EQ(check(request, rules_with_controller())->open.policy.kept, 0u);
  EXPECT_GE(check(request, rules_with_controller())->size.hot_tokens, 69u) << "it may be released";
  const auto refused = check(request, rules_with_controller(), 100);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("of device KV under this policy"));
}

TEST(PolicyRules, AdoresNumbersAreCheckedAgainstEachOtherAndTheServer) {
  auto request = request_of(400, 4, PolicyKind::kAdore);
  expect_refused(request, "model.controller");
  request.budget = 8;
  request.sinks = 4;
  request.window = 5;
  expect_refused(request, "budget: 8 must be at least 9", rules_with_controller());
  request.window = 0;
  request.sinks = 8;
  expect_refused(request, "budget: 8 must be at least 9", rules_with_controller());
  request.sinks = 7;
  EXPECT_TRUE(check(request, rules_with_controller()));
  RequestRules rules = rules_with_controller();
  rules.policy.rebuild_max = 3;
  EXPECT_EQ(check(request, rules)->open.policy.rebuild, 3u);
  request.options.rebuild = 4;
  expect_refused(request, "rebuild: 4 is more than policy.rebuild_max, 3", rules);
  request.options.stride = 4;
  expect_refused(request, "stride: policy adore has no such parameter", rules);
  request = request_of(400, 4, PolicyKind::kTidal);
  request.options.rebuild = 4;
  expect_refused(request, "rebuild: policy tidal has no such parameter");
}

TEST(PolicyRules, ComposedHasTidalsLayersAndRecycledsSchedule) {
  auto request = request_of(400, 4, PolicyKind::kComposed);
  request.budget = 64;
  auto policy = check(request)->open.policy;
  EXPECT_EQ(policy.scope, SetScope::kLayer);
  EXPECT_EQ(policy.window, 8u) << "the profile's";
  EXPECT_EQ(policy.check_every, 5u);
  EXPECT_EQ(policy.pool, 1u);
  EXPECT_GT(check(request)->size.hot_tokens, 0u) << "its sets follow the bands";
  request.options.stride = 8;
  EXPECT_EQ(check(request)->open.policy.stride, 8u);
  request.options.stride = 9;
  expect_refused(request, "stride: must be at most window, 8");
  request.options.stride = 4;
  request.window = 0;
  expect_refused(request, "window: must be at least 1");
  request.window = 60;
  request.sinks = 4;
  expect_refused(request, "budget: 64 must be more than sinks + window, 4 + 60");
  request = request_of(400, 4, PolicyKind::kComposed);
  request.options.variant = TidalVariant::kFaithful;
  expect_refused(request, "variant: policy composed has no such parameter");
  RequestRules rules = small_rules();
  rules.profile = models::dense_profile(8, "small");
  expect_refused(request_of(400, 4, PolicyKind::kComposed),
                 "composed needs a selection profile with anchors", rules);
}

TEST(PolicyRules, TheServerLimitsWhatMayBeAskedFor) {
  RequestRules rules = small_rules();
  rules.policy.allowed = "dense, tidal";
  EXPECT_TRUE(check(request_of(100, 4, PolicyKind::kTidal), rules));
  expect_refused(request_of(100, 4, PolicyKind::kRecycled), "policy: recycled is not allowed here",
                 rules);
  rules.policy.allowed = "dense, magic";
  EXPECT_THAT(allowed_policies(rules.policy).error().message,
              HasSubstr("policy.allowed: \"magic\""));
  rules = small_rules();
  rules.policy.budget_max = 40;
  EXPECT_EQ(check(request_of(1000, 4, PolicyKind::kTidal), rules)->open.policy.budget, 40u)
      << "what nobody asked for stays below it";
  auto request = request_of(1000, 4, PolicyKind::kTidal);
  request.budget = 41;
  expect_refused(request, "budget: 41 is more than policy.budget_max, 40", rules);
  request = request_of(1000, 4, PolicyKind::kStreaming);
  request.window = 100;
  expect_refused(request, "budget: 104", rules);
}

TEST(PolicyRules, ParametersOfAnotherPolicyAreRefusedByName) {
  auto request = request_of(100, 4, PolicyKind::kTidal);
  request.options.stride = 5;
  expect_refused(request, "stride: policy tidal has no such parameter");
  request = request_of(100, 4);
  request.options.scope = SetScope::kLayer;
  expect_refused(request, "scope: policy dense");
  request = request_of(100, 4);
  request.budget = 50;
  expect_refused(request, "budget: policy dense");
  request = request_of(100, 4, PolicyKind::kStreaming);
  request.options.correct_every = 5;
  expect_refused(request, "correct_every: policy streaming");
  request = request_of(100, 4, PolicyKind::kRecycled);
  request.sinks = 4;
  expect_refused(request, "sinks: policy recycled");
}

TEST(PolicyRules, SetsOfHeadsNeedLayersThatSeeEverything) {
  RequestRules rules = small_rules();
  rules.shape.windows.assign(rules.shape.layers, 0);
  rules.shape.windows[1] = 64;
  expect_refused(request_of(100, 4, PolicyKind::kRecycled), "policy: recycled needs a model",
                 rules);
  auto request = request_of(100, 4, PolicyKind::kTidal);
  request.options.scope = SetScope::kQueryHead;
  expect_refused(request, "scope: query_head needs a model", rules);
  request.options.scope = SetScope::kLayer;
  EXPECT_TRUE(check(request, rules));
}

TEST(PolicyRules, SelectionLayersMustBeTheModels) {
  auto request = request_of(100, 4, PolicyKind::kTidal);
  request.options.select_layers = {2, 8};
  expect_refused(request, "select_layers: 8 is not below 8");
}

TEST(PolicyRules, SetsOfKvHeadsNeedEveryKvHeadOnOneRank) {
  ArenaModel arena = small_arena(10000);
  RequestRules rules = small_rules();
  arena.kept_heads = rules.shape.heads_kv + 1;
  const auto refused = resolve_policy(rules, arena, request_of(100, 4, PolicyKind::kRecycled));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("every KV head on one rank"));
  EXPECT_TRUE(resolve_policy(rules, arena, request_of(100, 4, PolicyKind::kTidal)));
}

}  // namespace
}  // namespace ebb::coordinator::test
