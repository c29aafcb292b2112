// Schemas as grammars: golden cases of the jsonschema package, random texts against a plain
// validator, and what is refused.
#include "models/grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/models/grammar/schema_validator.h"
#include "tests/models/grammar/texts.h"
#include "tests/support/tree_paths.h"

namespace ebb::models::grammar::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Case {
  std::string schema;
  std::vector<std::string> spelled;
  std::vector<std::pair<std::string, const JsonTree*>> others;
};

class JsonSchemas : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::ifstream in(ebb::test::source_path("tests/golden/json_schemas.json"));
    std::stringstream text;
    text << in.rdbuf();
    golden_ = new JsonTree(*parse_json_tree(text.str()));
  }
  static void TearDownTestSuite() { delete golden_; }
  static std::vector<Case> cases() {
    std::vector<Case> out;
    for (const JsonTree& item : golden_->find("cases")->items) {
      Case& one = out.emplace_back();
      one.schema = json_text(*item.find("schema"));
      for (const JsonTree& text : item.find("spelled")->items) one.spelled.push_back(text.text);
      for (const JsonTree& other : item.find("others")->items) {
        one.others.emplace_back(other.find("text")->text, other.find("valid"));
      }
    }
    return out;
  }
  static const JsonTree* golden_;
};
const JsonTree* JsonSchemas::golden_ = nullptr;

TEST_F(JsonSchemas, AdmitWhatIsListedAndNothingElse) {
  ASSERT_GT(cases().size(), 90u);
  for (const Case& one : cases()) {
    Language language = schema(one.schema);
    for (const std::string& text : one.spelled) {
      EXPECT_TRUE(language.has(text)) << one.schema << "\nshould admit " << text;
    }
    for (const auto& [text, valid] : one.others) {
      EXPECT_FALSE(language.has(text)) << one.schema << "\nshould not admit " << text;
    }
  }
}

/// The validator of the next test is right where the package has said so.
TEST_F(JsonSchemas, TheTestsValidatorAgreesWithThePackage) {
  for (const Case& one : cases()) {
    if (one.schema.find("format") != std::string::npos) continue;
    if (one.schema.find("{\"$ref\":\"#\"},{\"const\"") != std::string::npos) continue;
    const JsonTree tree = *parse_json_tree(one.schema);
    const Validator validator(tree);
    for (const auto& [text, valid] : one.others) {
      const auto value = parse_json_tree(text);
      if (!value || !valid->is(JsonTree::Kind::kBool)) continue;
      EXPECT_EQ(validator.valid(*value), valid->boolean) << one.schema << " " << text;
    }
    if (one.schema.find("\"^.{2}$\"") != std::string::npos) continue;  // std::regex: no UTF-8
    for (const std::string& text : one.spelled) {
      EXPECT_TRUE(validator.valid(*parse_json_tree(text))) << one.schema << " " << text;
    }
  }
}

TEST_F(JsonSchemas, WhatRandomWalksSpellIsJsonAndValid) {
  std::mt19937_64 random(5);
  for (const Case& one : cases()) {
    if (one.schema.find("{\"$ref\":\"#\"},{\"const\"") != std::string::npos) continue;
    Language language = schema(one.schema);
    const JsonTree tree = *parse_json_tree(one.schema);
    for (int i = 0; i < 25; ++i) {
      const std::string text = language.random_text(random, 20 + random() % 60);
      if (text.starts_with("no end")) continue;  // a walk that did not come across the right byte
      const auto value = parse_json_tree(text);
      if (!value && value.error().message.find("twice") != std::string::npos) continue;
      ASSERT_TRUE(value) << one.schema << "\n" << text << "\n" << value.error().message;
      if (one.schema.find("\"pattern\"") != std::string::npos) continue;  // std::regex: no UTF-8
      ASSERT_TRUE(Validator(tree).valid(*value)) << one.schema << "\n" << text;
    }
  }
}

TEST(JsonSchema, MembersComeInTheSchemasOrder) {
  Language language = schema(R"({"type":"object","properties":{"z":{"const":1},"a":{"const":2},
                                 "m":{"const":3}},"required":["a","m","z"]})");
  EXPECT_TRUE(language.has(R"({"z":1,"a":2,"m":3})"));
  EXPECT_FALSE(language.has(R"({"a":2,"m":3,"z":1})"));
}

TEST(JsonSchema, LayoutIsOneSpaceOrOneIndentedLine) {
  Language language = schema(R"({"type":"array","items":{"const":1}})");
  EXPECT_TRUE(language.has("[1,1]"));
  EXPECT_TRUE(language.has("[ 1, 1 ]"));
  EXPECT_TRUE(language.has("[\n    1,\n    1\n]"));
  EXPECT_FALSE(language.begins("[  "));
  EXPECT_FALSE(language.begins("[\n\n"));
  EXPECT_FALSE(language.begins("[1 ,"));
  EXPECT_FALSE(language.begins(" "));
  EXPECT_FALSE(language.begins("[\n" + std::string(65, ' ')));
}

TEST(JsonSchema, NothingFollowsTheLastBracket) {
  Language language = schema(R"({"type":"object"})");
  EXPECT_TRUE(language.ends_after("{}"));
  EXPECT_FALSE(language.ends_after("{"));
}

TEST(JsonSchema, NestingEndsAtItsBoundAndCanAlwaysBeClosed) {
  Language language = schema("{}");
  std::string open;
  while (language.begins(open + "[") && open.size() < 100) open += '[';
  EXPECT_EQ(open.size(), kNestingMax + 1u);
  EXPECT_TRUE(language.has(open + std::string(open.size(), ']')));
  EXPECT_FALSE(language.begins(open + "1"));
  Language object = Language(*compile_json_object());
  std::string deep;
  while (object.begins(deep + "{\"a\":") && deep.size() < 1000) deep += "{\"a\":";
  EXPECT_EQ(deep.size(), 5u * kNestingMax);
  EXPECT_TRUE(object.has(deep + "1" + std::string(kNestingMax, '}')));
}

/// A value that must nest is not begun where it could not be finished.
TEST(JsonSchema, ARequiredDepthIsKeptFreeBelowTheBound) {
  Language language = schema(R"({"anyOf":[{"type":"array","items":{"$ref":"#"},"minItems":1},
      {"type":"object","properties":{"x":{"type":"array","minItems":1,"maxItems":1,
       "items":{"const":1}}},"required":["x"]}]})");
  std::string open;
  while (language.begins(open + "[") && open.size() < 100) open += '[';
  // The object and the array in it need two levels more.
  EXPECT_EQ(open.size(), kNestingMax - 2u);
  EXPECT_TRUE(language.has(open + "{\"x\":[1]}" + std::string(open.size(), ']')));
}

TEST(JsonSchema, StringsAreValidUtf8) {
  Language language = schema(R"({"type":"string"})");
  for (const char* bad : {"\"\x80", "\"\xC0\x80", "\"\xE0\x80", "\"\xED\xA0", "\"\xF4\x90",
                          "\"\xF5", "\"\xFF", "\"\\ud800\"", "\"\\udc00", "\"\\ud800\\u0041"}) {
    EXPECT_FALSE(language.begins(bad)) << bad;
  }
  EXPECT_TRUE(language.begins("\"\xE2\x82"));
  EXPECT_FALSE(language.begins("\"\xE2\x82\""));
}

/// The part of the sentence that names the place, and a part of the reason.
struct Refusal {
  std::string schema, path, reason;
};

void expect_refused(const std::vector<Refusal>& table) {
  for (const Refusal& wrong : table) {
    const std::string said = refusal(ConstraintKind::kJsonSchema, wrong.schema);
    EXPECT_THAT(said, StartsWith(wrong.path.empty() ? "" : "at " + wrong.path)) << wrong.schema;
    EXPECT_THAT(said, HasSubstr(wrong.reason)) << wrong.schema;
  }
}

TEST(JsonSchema, KeywordsThatAreNotUnderstoodAreRefusedWithTheirPath) {
  expect_refused({
      {R"({"type":"object","properties":{"a":{"multipleOf":3}}})", "properties.a.multipleOf",
       "not"},
      {R"({"items":{"anyOf":[{},{"not":{}}]}})", "items.anyOf[1].not", "not supported"},
      {R"({"patternProperties":{}})", "patternProperties", "not supported"},
      {R"({"propertyNames":{}})", "propertyNames", "not supported"},
      {R"({"minProperties":1})", "minProperties", "not supported"},
      {R"({"maxProperties":1})", "maxProperties", "not supported"},
      {R"({"dependentRequired":{}})", "dependentRequired", "not supported"},
      {R"({"if":{},"then":{}})", "if", "not supported"},
      {R"({"uniqueItems":true})", "uniqueItems", "not supported"},
      {R"({"contains":{}})", "contains", "not supported"},
      {R"({"unevaluatedProperties":false})", "unevaluatedProperties", "not supported"},
      {R"({"$anchor":"a"})", "$anchor", "not supported"},
      {R"({"$dynamicRef":"#a"})", "$dynamicRef", "not supported"},
      {R"({"nullable":true})", "nullable", "not supported"},
      {R"({"contentEncoding":"base64"})", "contentEncoding", "not supported"},
      {R"({"tpye":"object"})", "tpye", "not supported"},
  });
}

TEST(JsonSchema, ValuesThatDoNotFitTheirKeywordAreRefusedWithTheirPath) {
  expect_refused({
      {R"({"type":"text"})", "type", "must be null, boolean"},
      {R"({"type":[]})", "type", "at least one"},
      {R"({"type":5})", "type", "must be null"},
      {R"({"properties":[]})", "properties", "must be an object"},
      {R"({"properties":{"a":5}})", "properties.a", "must be a schema"},
      {R"({"required":"a"})", "required", "list of names"},
      {R"({"required":["a","a"]})", "required", "twice"},
      {R"({"required":[1]})", "required", "must hold names"},
      {R"({"required":["b"],"properties":{"a":{}},"additionalProperties":false})", "required",
       "not in properties"},
      {R"({"enum":[]})", "enum", "at least one value"},
      {R"({"enum":1})", "enum", "at least one value"},
      {R"({"enum":["a"],"minLength":3})", "minLength", "beside enum"},
      {R"({"const":1,"enum":[1]})", "enum", "beside const"},
      {R"({"anyOf":[]})", "anyOf", "at least one schema"},
      {R"({"anyOf":[{}],"type":"object"})", "type", "beside anyOf"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf[1]", "oneOf[0] admits too"},
      {R"({"oneOf":[{"const":1},{"const":1.0}]})", "oneOf[1]", "admits too"},
      {R"({"oneOf":[{"type":"object"},{"type":"object"}]})", "oneOf[1]", "admits too"},
      {R"({"oneOf":[{"properties":{"k":{"const":1}}},{"properties":{"k":{"const":2}}}]})",
       "oneOf[1]", "admits too"},
      {R"({"allOf":[{},{}]})", "allOf", "one schema only"},
      {R"({"$ref":"#/$defs/a"})", "$ref", "points to nothing"},
      {R"({"$ref":"http://x/y"})", "$ref", "into this schema"},
      {R"({"$ref":"other.json"})", "$ref", "into this schema"},
      {R"({"$ref":7})", "$ref", "into this schema"},
      {R"({"$ref":"#","type":"object"})", "type", "beside $ref"},
      {R"({"$defs":[]})", "$defs", "must be an object"},
      {R"({"type":"string","minLength":-1})", "minLength", "from 0 to 32768"},
      {R"({"type":"string","minLength":1.5})", "minLength", "whole number"},
      {R"({"type":"string","maxLength":99999999999})", "maxLength", "from 0 to 32768"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "", "maxLength is less than minLength"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "pattern", "byte 1"},
      {R"({"type":"string","pattern":5})", "pattern", "must be a string"},
      {R"({"type":"string","pattern":"a","minLength":1})", "",
       "of pattern, format, and minLength or maxLength, one at a time"},
      {R"({"type":"string","format":"hostname"})", "format", "known are date, time"},
      {R"({"type":"number","minimum":0.5})", "", "limits of a number that need not be an integer"},
      {R"({"type":"integer","minimum":1e300})", "minimum", "within +-2^53"},
      {R"({"type":"integer","minimum":"1"})", "minimum", "must be a number"},
      {R"({"exclusiveMinimum":true})", "exclusiveMinimum", "must be a number, not a boolean"},
      {R"({"type":"array","minItems":3,"maxItems":2})", "", "maxItems is less than minItems"},
      {R"({"type":"array","items":[{}]})", "items", "must be a schema"},
      {R"({"type":"array","prefixItems":{}})", "prefixItems", "list of at least one"},
  });
}

TEST(JsonSchema, SchemasWithoutAValueOrOverALimitAreRefused) {
  expect_refused({
      {"false", "", "admits no text"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "", "admits no text"},
      {R"({"type":"object","properties":{"a":false},"required":["a"]})", "", "admits no text"},
      {R"({"enum":["a"],"type":"integer"})", "", "admits no text"},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "",
       "admits no text"},
      {R"({"$ref":"#"})", "", "admits no text"},
      {R"({"anyOf":[{"$ref":"#"}]})", "", "admits no text"},
      {"[]", "", "must be a schema"},
      {"5", "", "must be a schema"},
      {"{", "", "not JSON at byte"},
      {"", "", "not JSON"},
      {R"({"type":"object","type":"string"})", "", "\"type\" twice"},
      {"{} {}", "", "not JSON at byte"},
      {std::string(70000, ' '), "", "at most 65536 bytes"},
      {R"({"enum":[)" + std::string(20000, '[') + "]}", "", "nests deeper than 64"},
      {R"({"type":"array","minItems":16000,"items":{"type":"array","minItems":16000}})", "",
       "too large"},
  });
}

TEST(JsonSchema, ALongChainOfReferencesIsNoRecursion) {
  std::string text = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 1500; ++i) {
    text += "\"d" + std::to_string(i) + R"(":{"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"},";
  }
  Language language = schema(text + R"("d1500":{"const":1}}})");
  EXPECT_TRUE(language.has("1"));
}

TEST(JsonSchema, SchemasWithLettersChangedAreRefusedOrCompiled) {
  std::mt19937_64 random(9);
  const std::string good =
      R"({"type":"object","properties":{"a":{"type":"array","items":{"$ref":"#"},"minItems":1},)"
      R"("b":{"type":"string","pattern":"^a+$"},"c":{"enum":[1,null]}},"required":["b"]})";
  static const std::string kLetters = "{}[]\",:0a$#/-";
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    for (int j = 0; j < 2; ++j) text[random() % text.size()] = kLetters[random() % kLetters.size()];
    refusal(ConstraintKind::kJsonSchema, text);
  }
}

}  // namespace
}  // namespace ebb::models::grammar::testing
