#include "models/json_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<JsonDocument> parsed(std::string_view text) {
  auto tree = JsonDocument::parse(text);
  EXPECT_TRUE(tree.has_value()) << tree.error().text();
  return tree ? *std::move(tree) : nullptr;
}

std::string refusal(std::string_view text) {
  const auto tree = JsonDocument::parse(text);
  return tree ? "accepted" : tree.error().text();
}

TEST(JsonDocument, GivesValuesByTypeAndPlace) {
  const auto tree = parsed(R"({"a": [1, "two", {"b": true}], "c": null, "d": 2.5, "\u00e9": -3})");
  const JsonValue root = tree->root();
  EXPECT_EQ(root.size(), 4u);
  const JsonValue list = *root.array_at("a");
  EXPECT_EQ(*list.first().integer(), 1);
  EXPECT_EQ(*list.first().next().text(), "two");
  const JsonValue object = list.first().next().next();
  EXPECT_TRUE(*object.boolean_or("b", false));
  EXPECT_FALSE(object.next());
  EXPECT_TRUE(root.find("c")->is_null());
  EXPECT_EQ(*root.find("d")->number(), 2.5);
  EXPECT_EQ(*root.integer_at("\u00e9"), -3);
  EXPECT_FALSE(root.find("e"));
}

TEST(JsonDocument, ErrorsNameThePath) {
  const auto tree = parsed(R"({"a": {"b": [0, {"c": "x"}]}})");
  const JsonValue b = *tree->root().at("a")->at("b");
  const JsonValue c = *b.first().next().at("c");
  EXPECT_EQ(c.path(), "a.b[1].c");
  EXPECT_THAT(c.integer().error().text(), HasSubstr("a.b[1].c must be an integer, not a string"));
  EXPECT_THAT(b.at("x").error().text(), HasSubstr("a.b must be an object, not an array"));
  EXPECT_THAT(tree->root().at("x").error().text(), HasSubstr("the document has no 'x'"));
  EXPECT_THAT(tree->root().at("a")->only({"d", "e"}).error().text(),
              HasSubstr("a.b is not known here; known are 'd', 'e'"));
}

TEST(JsonDocument, AScalarAndEmptyContainersHaveNoMembers) {
  EXPECT_FALSE(parsed("7")->root().first());
  EXPECT_FALSE(parsed("[]")->root().first());
  EXPECT_FALSE(parsed("{}")->root().first());
  const auto nested = parsed(R"([[], {}, 1])");
  EXPECT_EQ(nested->root().first().size(), 0u);
  EXPECT_EQ(nested->root().first().next().next().path(), "[2]");
}

TEST(JsonDocument, RefusesAKeyThatIsThereTwice) {
  EXPECT_THAT(refusal(R"({"a": {"k": 1, "x": 2, "k": 3}})"), HasSubstr("the key 'k' twice"));
}

TEST(JsonDocument, SaysWhereTheTextStopsBeingJson) {
  EXPECT_THAT(refusal(R"({"a": [1, 2})"), HasSubstr("is not JSON at byte 12"));
  EXPECT_THAT(refusal(""), HasSubstr("is not JSON at byte 1"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("is not JSON at byte 4"));
  EXPECT_THAT(refusal("\"\xFF\""), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal(R"("\ud800")"), HasSubstr("is not JSON"));
}

TEST(JsonDocument, RefusesDeepNestingWithoutGoingDown) {
  EXPECT_THAT(refusal(std::string(10'000'000, '[')), HasSubstr("more than 64 levels deep"));
  const std::string deepest = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(refusal(deepest), "accepted");
}

TEST(JsonDocument, RefusesMoreValuesThanTheLimit) {
  std::string text = "[1";
  for (size_t i = 0; i < JsonDocument::kValuesMax; ++i) text += ",1";
  EXPECT_THAT(refusal(text + "]"), HasSubstr("has more than 6000000 values"));
}

TEST(JsonDocument, LargeNumbersAreNoIntegers) {
  const auto tree = parsed("[18446744073709551615, 1e300]");
  EXPECT_THAT(tree->root().first().integer().error().text(), HasSubstr("[0] must be an integer"));
}

}  // namespace
}  // namespace ebb::models
