// Parameters of policy anchored: defaults, refusals, and what it keeps on the device.
#include "coordinator/policy_anchored.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "models/digest_size.h"
#include "tests/coordinator/engine_samples.h"

namespace ebb::coordinator::test {
namespace {

using control::DigestKind;
using control::PolicyKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<CheckedRequest> check(GenerateRequest request, RequestRules rules = small_rules(),
                             uint64_t blocks = 10000) {
  return check_request(rules, small_arena(blocks), std::move(request));
}
std::string refusal(GenerateRequest request, RequestRules rules = small_rules()) {
  const auto refused = check(std::move(request), std::move(rules));
  return refused ? std::string("accepted") : refused.error().message;
}

TEST(PolicyAnchored, ByDefaultEveryLayerButTheFirstTwoChoosesByADigest) {
  const auto checked = check(request_of(400, 4, PolicyKind::kAnchored));
  ASSERT_TRUE(checked) << checked.error().text();
  const auto& policy = checked->open.policy;
  EXPECT_EQ(policy.digest, DigestKind::kH3);
  EXPECT_TRUE(policy.left_out);
  EXPECT_EQ(policy.boost, 1.0f);
  EXPECT_EQ(policy.boost_steps, 8u);
  EXPECT_FALSE(policy.predict);
  EXPECT_THAT(policy.select_layers, ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_GT(checked->size.hot_tokens, 0u);
  EXPECT_EQ(checked->size.hot_from, 2u);
  EXPECT_EQ(checked->size.digest_layers, 6u);
  EXPECT_EQ(checked->size.sum_layers, 6u);
}

TEST(PolicyAnchored, WithoutADigestTheProfilesAnchorsReadEverythingAndStay) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.options.digest = DigestKind::kNone;
  auto checked = check(request);
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_THAT(checked->open.policy.select_layers, IsEmpty());
  EXPECT_EQ(checked->size.hot_from, 0u) << "bands of followers";
  EXPECT_GT(checked->size.hot_tokens, 0u);
  EXPECT_EQ(checked->size.digest_layers, 0u);
  EXPECT_EQ(checked->size.sum_layers, 6u) << "layers 1, 2 and 4 to 7 follow";
  request.options.select_layers = {1, 4};
  checked = check(request);
  EXPECT_EQ(checked->size.hot_tokens, 0u) << "anchors that the bands do not follow";
  EXPECT_EQ(checked->size.sum_layers, 5u) << "2, 3 and 5 to 7";
  request.options.left_out = false;
  EXPECT_EQ(check(request)->size.sum_layers, 0u);
}

TEST(PolicyAnchored, TheBudgetIsDealtByTheWeightsOfTheProfileOrOfTheRequest) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.budget = 60;
  request.window = 10;
  EXPECT_THAT(check(request)->open.policy.layer_budgets, IsEmpty()) << "the profile has none";
  RequestRules rules = small_rules();
  rules.profile.budget_weights = {4, 4, 1, 1, 2, 2, 1, 1};
  auto checked = check(request, rules);
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_THAT(checked->open.policy.layer_budgets, ElementsAre(60, 60, 48, 48, 84, 84, 48, 48))
      << "those of layers 2 to 7 are 60 in the mean";
  EXPECT_EQ(checked->open.policy.budget, 60u);
  EXPECT_EQ(checked->size.hot_tokens, 120u);
  EXPECT_EQ(checked->size.budget, 60u);
  EXPECT_EQ(checked->size.layer_budgets, checked->open.policy.layer_budgets);
  request.options.layer_budgets = LayerBudgets{};
  EXPECT_THAT(check(request, rules)->open.policy.layer_budgets, IsEmpty());
  request.options.layer_budgets->weights = {1, 1, 1, 1, 1, 1, 1, 3};
  EXPECT_THAT(check(request, rules)->open.policy.layer_budgets,
              ElementsAre(60, 60, 48, 48, 48, 48, 48, 120));
}

TEST(PolicyAnchored, LayersThatShareASetShareItsBudget) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.budget = 60;
  request.window = 10;
  request.options.layer_budgets = LayerBudgets{false, {1, 1, 1, 1, 1, 1, 2, 4}};
  request.options.select_layers = {2, 6};
  EXPECT_THAT(check(request)->open.policy.layer_budgets,
              ElementsAre(60, 60, 41, 41, 41, 41, 98, 98));
  // Without a digest layers 1 and 4 read everything: 2, 3 and 5 to 7 have weights of 1, and 7/3.
  request.options.digest = DigestKind::kNone;
  request.options.select_layers = {1, 4};
  EXPECT_THAT(check(request)->open.policy.layer_budgets,
              ElementsAre(60, 39, 39, 39, 74, 74, 74, 74));
}

TEST(PolicyAnchored, WeightsThatDoNotFitTheModelAreRefused) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.options.layer_budgets = LayerBudgets{false, {1, 1, 1}};
  EXPECT_THAT(refusal(request), HasSubstr("layer_budgets: 3 weights for 8 layers"));
  request.options.layer_budgets = LayerBudgets{true, {}};
  EXPECT_THAT(refusal(request), HasSubstr("layer_budgets: the selection profile"));
  request = request_of(400, 4, PolicyKind::kTidal);
  request.options.layer_budgets = LayerBudgets{};
  EXPECT_THAT(refusal(request), HasSubstr("layer_budgets: policy tidal has no such parameter"));
}

TEST(PolicyAnchored, PredictedSegmentsKeepDigestsOfAllTheirLayers) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.options.select_layers = {3, 6};
  EXPECT_EQ(check(request)->size.digest_layers, 2u);
  request.options.predict = true;
  EXPECT_EQ(check(request)->size.digest_layers, 5u);
  EXPECT_EQ(check(request)->size.hot_from, 3u);
}

TEST(PolicyAnchored, BadParametersNameFieldAndLimit) {
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  request.budget = 20;
  request.window = 18;  // and 2 sinks
  EXPECT_THAT(refusal(request), HasSubstr("budget: 20 must be more than sinks + window"));
  request = request_of(400, 4, PolicyKind::kAnchored);
  request.window = 0;
  EXPECT_THAT(refusal(request), HasSubstr("window: must be at least 1"));
  request = request_of(400, 4, PolicyKind::kAnchored);
  request.options.select_layers = {2, 8};
  EXPECT_THAT(refusal(request), HasSubstr("select_layers: 8 is not below 8"));
  request.options.select_layers.reset();
  request.options.digest = DigestKind::kNone;
  request.options.select_all = true;
  EXPECT_THAT(refusal(request), HasSubstr("select_layers: all needs a digest"));
  request.options.select_all = false;
  request.options.predict = true;
  EXPECT_THAT(refusal(request), HasSubstr("predict: needs a digest"));
  request = request_of(400, 4, PolicyKind::kTidal);
  request.options.digest = DigestKind::kH2;
  EXPECT_THAT(refusal(request), HasSubstr("digest: policy tidal has no such parameter"));
  request = request_of(400, 4, PolicyKind::kTidal);
  request.options.select_all = true;
  EXPECT_THAT(refusal(request), HasSubstr("select_layers"));
  request = request_of(400, 4, PolicyKind::kAnchored);
  request.options.stride = 4;
  EXPECT_THAT(refusal(request), HasSubstr("stride: policy anchored has no such parameter"));
}

TEST(PolicyAnchored, ModelsWithSlidingWindowsGetItWithoutDigestAndEstimate) {
  RequestRules rules = small_rules();
  rules.shape.windows.assign(rules.shape.layers, 0);
  rules.shape.windows[5] = 64;
  auto request = request_of(400, 4, PolicyKind::kAnchored);
  const auto checked = check(request, rules);
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_EQ(checked->open.policy.digest, DigestKind::kNone);
  EXPECT_FALSE(checked->open.policy.left_out);
  request.options.digest = DigestKind::kInt4;
  EXPECT_THAT(refusal(request, rules), HasSubstr("digest: needs a model without sliding windows"));
  request.options.digest.reset();
  request.options.left_out = true;
  EXPECT_THAT(refusal(request, rules), HasSubstr("left_out: needs a model without"));
}

TEST(PolicyAnchored, BlocksHoldAsManyDigestsAndSumsAsTheKernelsPutThere) {
  for (const uint32_t size : {16u, 32u, 64u, 80u, 96u, 128u, 256u}) {
    for (const auto type : {models::KvType::kBF16, models::KvType::kF32}) {
      for (const uint32_t heads : {1u, 3u}) {
        kernels::KvShape shape;
        shape.heads_q = shape.heads_kv = heads;
        shape.head_size = size;
        shape.block_tokens = 16;
        shape.element =
            type == models::KvType::kF32 ? kernels::KvElement::kF32 : kernels::KvElement::kBF16;
        EXPECT_EQ(models::sum_tokens_in_block(type, 16),
                  kernels::SumRows::page_runs(shape) * kernels::kSumTokens);
        const std::pair<kernels::DigestFormat, uint32_t> formats[] = {
            {kernels::DigestFormat::kInt4, 4},
            {kernels::DigestFormat::kH3, 3},
            {kernels::DigestFormat::kH2, 2}};
        for (const auto& [format, bits] : formats) {
          const kernels::DigestShape digest{format, heads, size};
          EXPECT_EQ(models::digests_in_block(bits, size, type, 16),
                    digest.page_tokens(shape.block_bytes()))
              << size << " dims, " << bits << " bits";
        }
      }
    }
  }
}

TEST(PolicyAnchored, DigestsAndSumsCountInEveryPlacement) {
  const ArenaModel arena = small_arena(1000);
  SequenceSize size{160, 200, 40};
  size.hot_from = 2;
  size.digest_layers = 6;
  size.block_digests = 48;
  size.sum_layers = 6;
  size.block_sum_tokens = 256;
  EXPECT_EQ(aids_blocks(size, 200), 6u * 5 + 6u * 1);
  EXPECT_EQ(all_resident_blocks(arena, size), 8u * 25 + 36);
  // Bands: 0, 1..2, 3, 4..7. The second holds layer 1, which reads everything, so it stays.
  EXPECT_EQ(hot_decode_blocks(arena, size), 36u + 3u * 25 + 5u * 7);
}

}  // namespace
}  // namespace ebb::coordinator::test
