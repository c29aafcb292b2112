// Defaults of policies from the configuration, and what of them a request takes.
#include "coordinator/policy_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::coordinator {
namespace {

using control::PolicyKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<EbbOptions> defaults_of(const std::string& name, const std::string& parameters) {
  PolicyConfig config;
  config.name = name;
  config.parameters = parameters;
  return read_policy_defaults(config);
}

EbbOptions taken(const EbbOptions& defaults, EbbOptions asked = {}) {
  take_policy_defaults(defaults, asked);
  return asked;
}

TEST(PolicyFields, DefaultsHaveTheFieldsOfARequest) {
  const auto read =
      defaults_of("tidal", R"({"budget": 300, "variant": "lessismore", "correct_every": 64})");
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->policy, PolicyKind::kTidal);
  EXPECT_EQ(read->budget, 300u);
  EXPECT_EQ(read->options.variant, TidalVariant::kLessIsMore);
  EXPECT_EQ(read->options.correct_every, 64u);
  EXPECT_EQ(defaults_of("recycled", "")->policy, PolicyKind::kRecycled);
  const auto adore = defaults_of("adore", R"({"rebuild": 64, "rebuild_mode": "auto"})");
  EXPECT_EQ(taken(*adore).options.rebuild, 64u);
  EXPECT_EQ(taken(*adore).options.rebuild_mode, RebuildMode::kAuto);
}

TEST(PolicyFields, BadDefaultsNameTheirKey) {
  const auto refused = [](const std::string& parameters) {
    const auto read = defaults_of("tidal", parameters);
    return read ? std::string("accepted") : read.error().message;
  };
  EXPECT_THAT(refused("{"), HasSubstr("policy.parameters: is not JSON"));
  EXPECT_THAT(refused("[]"), HasSubstr("policy.parameters: must be a JSON object"));
  EXPECT_THAT(refused(R"({"budget": 0})"), HasSubstr("policy.parameters.budget"));
  EXPECT_THAT(refused(R"({"bugdet": 10})"), HasSubstr("the nearest known key is budget"));
  EXPECT_THAT(refused(R"({"policy": "dense"})"), HasSubstr("policy.name"));
  EXPECT_THAT(refused(R"({"stride": 5})"),
              HasSubstr("policy.parameters.stride is no parameter of policy tidal"));
  EXPECT_THAT(refused(R"({"rebuild": 65})"), HasSubstr("policy.parameters.rebuild"));
  EXPECT_THAT(refused(R"({"rebuild_mode": "never"})"), HasSubstr("recompute, restore, auto"));
  EXPECT_THAT(defaults_of("magic", "").error().message, HasSubstr("policy.name"));
}

TEST(PolicyFields, ARequestTakesWhatItLeavesOpenOfItsOwnPolicyOnly) {
  const auto defaults = *defaults_of("tidal", R"({"budget": 300, "sinks": 2, "window": 64})");
  EbbOptions asked;
  asked.budget = 500;
  EXPECT_EQ(taken(defaults, asked).budget, 500u);
  EXPECT_EQ(taken(defaults, asked).window, 64u);
  asked.policy = PolicyKind::kTidal;
  EXPECT_EQ(taken(defaults, asked).sinks, 2u);
  asked.policy = PolicyKind::kRecycled;
  EXPECT_FALSE(taken(defaults, asked).window) << "another policy has nothing to do with them";
}

TEST(PolicyFields, FieldsThatBelongTogetherAreTakenTogether) {
  const auto recycled = *defaults_of("recycled", R"({"check_every": 8, "similarity": 0.9})");
  EbbOptions asked;
  EXPECT_EQ(taken(recycled, asked).options.check_every, 8u);
  asked.options.stride = 10;
  EXPECT_FALSE(taken(recycled, asked).options.check_every) << "a fixed schedule takes no other's";
  const auto stream = *defaults_of("streaming", R"({"window": 1000, "sinks": 2})");
  EXPECT_EQ(taken(stream).window, 1000u);
  asked = {};
  asked.budget = 300;
  EXPECT_FALSE(taken(stream, asked).window) << "the budget says it";
  EXPECT_EQ(taken(stream, asked).sinks, 2u);
}

TEST(PolicyFields, ThoseOfAnchoredAreReadStrictly) {
  PolicyConfig config;
  config.name = "anchored";
  const auto read = [&](const std::string& parameters) {
    config.parameters = parameters;
    return read_policy_defaults(config);
  };
  const auto good = read(R"({"digest": "int4", "left_out": 0, "hysteresis": [0.5, 4], )"
                         R"("select_layers": "all", "predict": true, )"
                         R"("layer_budgets": [0.25, 1, 4.0]})");
  ASSERT_TRUE(good) << good.error().text();
  EXPECT_EQ(good->options.digest, control::DigestKind::kInt4);
  EXPECT_EQ(good->options.left_out, false);
  EXPECT_EQ(good->options.hysteresis->boost, 0.5f);
  EXPECT_EQ(good->options.hysteresis->steps, 4u);
  EXPECT_TRUE(good->options.select_all);
  EXPECT_EQ(good->options.predict, true);
  EXPECT_FALSE(good->options.layer_budgets->from_profile);
  EXPECT_THAT(good->options.layer_budgets->weights, ElementsAre(0.25, 1, 4));
  EXPECT_TRUE(read(R"({"layer_budgets": "profile"})")->options.layer_budgets->from_profile);
  const auto even = read(R"({"layer_budgets": "even"})");
  EXPECT_FALSE(even->options.layer_budgets->from_profile);
  EXPECT_TRUE(even->options.layer_budgets->weights.empty());
  const auto message = [&](const std::string& parameters) {
    const auto bad = read(parameters);
    return bad ? std::string("accepted") : bad.error().message;
  };
  for (const char* bad :
       {R"("all")", "1", "true", "[]", "[0.2]", "[4.5]", R"(["1"])", "[1, null]"}) {
    EXPECT_THAT(message(R"({"layer_budgets": )" + std::string(bad) + "}"),
                HasSubstr("layer_budgets must be \"profile\", \"even\", or a list"))
        << bad;
  }
  EXPECT_THAT(message(R"({"digest": "h4"})"), HasSubstr("must be one of none, int4, h3, h2"));
  EXPECT_THAT(message(R"({"left_out": 16})"), HasSubstr("must be 0 or 64, not 16"));
  EXPECT_THAT(message(R"({"hysteresis": [1]})"), HasSubstr("hysteresis must be [e, m]"));
  EXPECT_THAT(message(R"({"hysteresis": [-1, 8]})"), HasSubstr("hysteresis must be [e, m]"));
  EXPECT_THAT(message(R"({"hysteresis": ["1", 8]})"), HasSubstr("hysteresis must be [e, m]"));
  EXPECT_THAT(message(R"({"hysteresis": [1, 0]})"), HasSubstr("hysteresis must be [e, m]"));
  EXPECT_THAT(message(R"({"select_layers": "every"})"), HasSubstr("or \"all\""));
}

}  // namespace
}  // namespace ebb::coordinator
