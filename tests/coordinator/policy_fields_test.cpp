// Defaults of policies from the configuration, and what of them a request takes.
#include "coordinator/policy_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::coordinator {
namespace {

using control::PolicyKind;
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

}  // namespace
}  // namespace ebb::coordinator
