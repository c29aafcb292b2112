#include "models/profile_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

SelectionProfile small() {
  SelectionProfile profile;
  profile.name = "small";
  profile.model_name = "a \"model\"";
  profile.layers = 6;
  profile.full = {0};
  profile.anchors = {1, 4};
  profile.budget_fraction = 0.1;
  profile.budget_min = 64;
  profile.sinks = 2;
  profile.window = 32;
  profile.budget_weights = {1, 1, 0.5, 2, 0.75, 0.28125};
  return profile;
}

TEST(ProfileJson, ComesBackAsItWas) {
  const auto back = profile_from_json(profile_json(small()));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(print_selection_profile(*back), print_selection_profile(small()));
  const SelectionProfile dense = dense_profile(3, "some model");
  const auto dense_back = profile_from_json(profile_json(dense));
  ASSERT_TRUE(dense_back) << dense_back.error().text();
  EXPECT_EQ(print_selection_profile(*dense_back), print_selection_profile(dense));
}

TEST(ProfileJson, SaysWhatFollowsForEachLayer) {
  const auto json = nlohmann::json::parse(profile_json(small()));
  EXPECT_EQ(json["kind"], "SelectionProfile");
  EXPECT_EQ(json["classes"],
            nlohmann::json({"full", "anchor", "follower", "follower", "anchor", "follower"}));
  EXPECT_EQ(json["bands"], nlohmann::json::parse("[[0,1],[1,2],[2,4],[4,5],[5,6]]"));
}

TEST(ProfileJson, OtherTextsAreCorruptAndNotAProfile) {
  auto json = nlohmann::json::parse(profile_json(small()));
  json["anchors"] = {4, 1};
  for (const std::string& text : {std::string(""), std::string("[]"), std::string("{}"),
                                  std::string(R"({"version":"one"})"), json.dump()}) {
    const auto profile = profile_from_json(text);
    ASSERT_FALSE(profile) << text;
    EXPECT_EQ(profile.error().code, Code::kCorrupt) << text;
  }
  EXPECT_THAT(profile_from_json(json.dump()).error().message, HasSubstr("anchors"));
}

}  // namespace
}  // namespace ebb::models
