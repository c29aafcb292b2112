#include "score/policy_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::score {
namespace {

using ::testing::HasSubstr;

std::string object(const std::string& text, uint64_t context) {
  const auto policies = parse_policies(text);
  return policies ? ebb_object(policies->front(), context) : policies.error().text();
}

TEST(PolicyText, BecomesTheEbbObject) {
  EXPECT_EQ(object("dense", 100), R"({"policy":"dense"})");
  EXPECT_EQ(object("streaming:sinks=4,window=1020", 100),
            R"({"policy":"streaming","sinks":4,"window":1020})");
  EXPECT_EQ(
      object(" future: layers=[0,2,7], left_out=64, e=1.5, exact=true, digest=h3, scope=kv_head",
             100),
      R"({"policy":"future","layers":[0,2,7],"left_out":64,"e":1.5,"exact":true,"digest":"h3",)"
      R"("scope":"kv_head"})");
}

TEST(PolicyText, SharesOfTheContextAreTokens) {
  EXPECT_EQ(object("tidal:budget=n/8", 4096), R"({"policy":"tidal","budget":512})");
  EXPECT_EQ(object("tidal:budget=n/8,window=n/32", 1000),
            R"({"policy":"tidal","budget":125,"window":31})");
  EXPECT_EQ(object("tidal:budget=n", 77), R"({"policy":"tidal","budget":77})");
  EXPECT_EQ(object("tidal:budget=n/8", 3), R"({"policy":"tidal","budget":1})");
  const auto policies = parse_policies("tidal:budget=n/8,window=32");
  EXPECT_EQ(tokens_of(policies->front(), "budget", 64), 8u);
  EXPECT_EQ(tokens_of(policies->front(), "sinks", 64), std::nullopt);
}

TEST(PolicyText, PoliciesOfOneLineDifferInBudgetOnly) {
  const auto policies =
      *parse_policies("tidal:budget=n/8,window=32;tidal:window=32,budget=n/4;tidal");
  EXPECT_EQ(family_of(policies[0]), "tidal:window=32");
  EXPECT_EQ(family_of(policies[1]), "tidal:window=32");
  EXPECT_EQ(family_of(policies[2]), "tidal");
}

TEST(PolicyText, APolicyMayBeMeasuredTwice) {
  const auto policies = *parse_policies("dense;dense;");
  ASSERT_EQ(policies.size(), 2u);
  EXPECT_EQ(policies[0].label, "dense");
  EXPECT_EQ(policies[1].label, "dense (2)");
  EXPECT_EQ(ebb_object(policies[1], 1), R"({"policy":"dense"})");
}

TEST(PolicyText, WhatIsWrongIsNamed) {
  EXPECT_THAT(object("tidal:budget", 1), HasSubstr("\"budget\" is not key=value"));
  EXPECT_THAT(object("tidal:budget=n/0", 1), HasSubstr("budget is \"n/0\""));
  EXPECT_THAT(object("tidal:budget=", 1), HasSubstr("budget is \"\""));
  EXPECT_THAT(object("tidal:budget=1,budget=2", 1), HasSubstr("budget is given twice"));
  EXPECT_THAT(object("tidal:layers=[0,x]", 1), HasSubstr("layers is \"[0,x]\""));
  EXPECT_THAT(object("tidal:decode_from=3", 1), HasSubstr("decode_from is set by ebb-score"));
  EXPECT_THAT(object(":budget=3", 1), HasSubstr("has no name"));
  EXPECT_THAT(object("a\"b", 1), HasSubstr("has no name"));
  EXPECT_THAT(object(" ; ", 1), HasSubstr("--policies is empty"));
  std::string many;
  for (int i = 0; i < 65; ++i) many += "dense;";
  EXPECT_THAT(object(many, 1), HasSubstr("more than 64"));
}

}  // namespace
}  // namespace ebb::score
