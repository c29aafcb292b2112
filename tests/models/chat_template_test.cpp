#include "models/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/golden_files.h"

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

jinja::Value message(std::string role, std::string content) {
  jinja::Dict dict;
  dict.set("role", std::move(role));
  dict.set("content", std::move(content));
  return dict;
}

jinja::List read_messages(const nlohmann::json& conversation) {
  jinja::List messages;
  for (const auto& entry : conversation)
    messages.push_back(message(entry["role"], entry["content"]));
  return messages;
}

/// The text, or the error's.
std::string render(const std::string& source, jinja::List messages = {},
                   ChatTemplate::Limits limits = {}) {
  const auto parsed = ChatTemplate::parse({{"default", source}},
                                          {{"bos_token", "<bos>"}, {"eos_token", "<eos>"}}, limits);
  if (!parsed) return parsed.error().text();
  ChatInput input;
  input.messages = std::move(messages);
  const auto text = (*parsed)->render(input);
  return text ? *text : text.error().text();
}

class GoldenChatTemplates : public ::testing::Test {
 protected:
  void SetUp() override {
    golden_ = testing::read_golden("chat_templates.json");
    ASSERT_TRUE(golden_.is_object());
  }
  Result<std::string> run(const std::string& source, const nlohmann::json& entry) {
    const auto parsed = EBB_TRY(ChatTemplate::parse(source, golden_["bos"], golden_["eos"]));
    ChatInput input;
    input.messages = read_messages(golden_["conversations"][entry["conversation"].get<size_t>()]);
    input.add_generation_prompt = entry["prompt"].get<bool>();
    return parsed->render(input);
  }
  nlohmann::json golden_;
};

TEST_F(GoldenChatTemplates, RenderAsJinja2DoesAndFailWhereItFails) {
  ASSERT_GE(golden_["cases"].size(), 400u);
  for (const auto& entry : golden_["cases"]) {
    const auto source = golden_["templates"][entry["template"].get<size_t>()].get<std::string>();
    const auto text = run(source, entry);
    if (entry["text"].is_null()) {
      EXPECT_FALSE(text.has_value()) << source << "\ngave " << (text ? *text : "");
      if (!text) {
        EXPECT_THAT(text.error().message, HasSubstr("line ")) << source;
      }
      continue;
    }
    ASSERT_TRUE(text.has_value()) << source << "\n" << text.error().text();
    EXPECT_EQ(*text, entry["text"].get<std::string>()) << source;
  }
}

TEST_F(GoldenChatTemplates, TheRealModelsTemplateGivesJinja2sPrompts) {
  const auto file = testing::open_real_model();
  ASSERT_NE(file, nullptr);
  const auto source = file->get_string("tokenizer.chat_template");
  ASSERT_TRUE(source.has_value());
  ASSERT_GE(golden_["real"].size(), 10u);
  for (const auto& entry : golden_["real"]) {
    const auto text = run(*source, entry);
    ASSERT_TRUE(text.has_value()) << text.error().text();
    EXPECT_EQ(*text, entry["text"].get<std::string>());
  }
}

TEST(ChatTemplate, SyntaxErrorsNameLineAndColumn) {
  EXPECT_EQ(render("abc\n  {{ 1 + }}"),
            "invalid: chat template: line 2, column 10: expected a value");
  EXPECT_EQ(render("{% if true %}\nx"),
            "invalid: chat template: line 2, column 2: expected the tag 'endif' before the end");
  EXPECT_THAT(render("{{ 'abc"), HasSubstr("line 1, column 4: this string is not closed"));
  EXPECT_THAT(render("{{ 1 $ 2 }}"), HasSubstr("line 1, column 6: unexpected character"));
}

TEST(ChatTemplate, FeaturesThatAreNotThereAreNamedWhenItIsParsed) {
  EXPECT_EQ(
      render("{{ x | groupby('a') }}"),
      "unsupported: chat template: line 1, column 8: the filter 'groupby' is not supported in "
      "chat templates");
  EXPECT_THAT(render("{% macro f() %}{% endmacro %}"), HasSubstr("the tag 'macro'"));
  EXPECT_THAT(render("{% if x is sameas 1 %}{% endif %}"), HasSubstr("the test 'sameas'"));
  EXPECT_THAT(render("{{ x.format(1) }}"), HasSubstr("the method 'format'"));
  EXPECT_THAT(render("{{ 2 ** 3 }}"), HasSubstr("the operator '**'"));
  EXPECT_THAT(render("{% set x %}a{% endset %}"), HasSubstr("a set block"));
}

TEST(ChatTemplate, WrongArgumentsAreFoundWhenItIsParsed) {
  EXPECT_THAT(render("{{ 'a' | trim(1, 2) }}"), HasSubstr("'trim' takes at most 1 arguments"));
  EXPECT_THAT(render("{{ 'a' | replace('b') }}"), HasSubstr("'replace' needs the argument 'new'"));
  EXPECT_THAT(render("{{ [] | tojson(colour=1) }}"),
              HasSubstr("'tojson' has no parameter 'colour'"));
  EXPECT_THAT(render("{{ 'a' | replace('b', 'c', old='d') }}"),
              HasSubstr("'replace' has 'old' twice"));
}

TEST(ChatTemplate, AnUndefinedNameIsAnErrorWhereItIsUsedAndNotWhereItIsTested) {
  EXPECT_EQ(render("x{{ nobody }}"),
            "invalid: chat template: line 1, column 2: 'nobody' is undefined");
  EXPECT_EQ(render("{% if nobody %}a{% elif nobody is defined %}b{% else %}c{% endif %}"), "c");
  EXPECT_THAT(render("{% for x in nobody %}{% endfor %}"), HasSubstr("'nobody' is undefined"));
  EXPECT_THAT(render("{{ messages[0].thought ~ '' }}", {message("user", "hi")}),
              HasSubstr("'thought' is undefined"));
}

TEST(ChatTemplate, CallsOfUnknownFunctionsFailOnlyWhenReached) {
  EXPECT_EQ(
      render("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}fixed{% endif %}"),
      "fixed");
  EXPECT_THAT(render("{{ strftime_now('%Y') }}"), HasSubstr("'strftime_now' is no function here"));
}

TEST(ChatTemplate, RaiseExceptionEndsRenderingWithItsMessage) {
  EXPECT_EQ(
      render("a\n{{ raise_exception('system comes first') }}"),
      "invalid: chat template: line 2, column 4: the chat template refuses: system comes first");
}

TEST(ChatTemplate, MarksOfWhatTheModelWroteAreLeftOut) {
  EXPECT_EQ(render("a{% generation %}b{% endgeneration %}c"), "abc");
}

TEST(ChatTemplate, TextThatLooksLikeATagIsTextInAMessage) {
  const std::string hostile = "{{ 7 * 7 }}{% raw %}{# x #}<eos>";
  EXPECT_EQ(render("{{ messages[0].content }}", {message("user", hostile)}), hostile);
}

TEST(ChatTemplate, InvalidUtf8InAMessagePassesThrough) {
  const std::string bytes = "a\xFF\xE2\x82";
  EXPECT_EQ(render("{{ messages[0].content | trim }}{{ messages[0].content | length }}",
                   {message("u", bytes)}),
            bytes + "4");
}

TEST(ChatTemplate, ChangingTheCaseOfLettersBeyondAsciiIsRefused) {
  EXPECT_THAT(render("{{ 'É' | lower }}"),
              HasSubstr("unsupported: chat template: line 1, column 11"));
}

TEST(ChatTemplate, LoopsAreBoundedInSteps) {
  EXPECT_THAT(
      render("{% for i in range(999999) %}{% for j in range(999999) %}{% endfor %}{% endfor %}"),
      HasSubstr("exhausted: chat template: line 1"));
  EXPECT_THAT(render("{{ range(1000000000) | length }}"), HasSubstr("limit of 4000000 steps"));
}

TEST(ChatTemplate, OutputIsBounded) {
  const ChatTemplate::Limits limits{.steps_max = 1000, .output_max = 10};
  EXPECT_EQ(render("{{ messages[0].content }}", {message("user", "0123456789")}, limits),
            "0123456789");
  EXPECT_THAT(
      render("{{ messages[0].content }}", {message("user", "0123456789a")}, limits),
      HasSubstr(
          "exhausted: chat template: line 1, column 1: the template's output limit of 10 bytes"));
}

TEST(ChatTemplate, TextThatIsBuiltOnTheWayIsBounded) {
  EXPECT_THAT(render("{% set s = 'x' * 99999999999999 %}"), HasSubstr("bytes of text"));
  EXPECT_THAT(render("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ "
                     "ns.s %}{% endfor %}"),
              HasSubstr("bytes of text"));
  EXPECT_THAT(render("{% set s = 'a' * 1000000 %}{% set t = s.replace('a', s) %}"),
              HasSubstr("bytes of text"));
  EXPECT_THAT(render("{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{% set t = 'b' in s "
                     "%}{% endfor %}"),
              HasSubstr("bytes looked through"));
}

TEST(ChatTemplate, DeepNestingIsRefusedBeforeItMeetsTheStack) {
  EXPECT_THAT(render("{{ " + std::string(400, '(') + "1" + std::string(400, ')') + " }}"),
              HasSubstr("nested deeper"));
  EXPECT_THAT(render("{{ " + std::string(400, '[') + "1" + std::string(400, ']') + " }}"),
              HasSubstr("nested deeper"));
  EXPECT_THAT(render("{{ " + std::string(400, '-') + "1 }}"), HasSubstr("nested deeper"));
  std::string nots, ifs, chain = "1";
  for (int i = 0; i < 300; ++i) nots += "not ";
  for (int i = 0; i < 300; ++i) ifs += "{% if 1 %}";
  for (int i = 0; i < 5000; ++i) chain += "+1";
  EXPECT_THAT(render("{{ " + nots + "1 }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(render(ifs), HasSubstr("nested deeper"));
  EXPECT_THAT(render("{{ " + chain + " }}"), HasSubstr("more than 1000 parts"));
}

TEST(ChatTemplate, ValuesNeitherNestWithoutEndNorHoldThemselves) {
  EXPECT_THAT(render("{% set n = namespace(l=[]) %}{% for i in range(99) %}{% set n.l = [n.l] %}"
                     "{% endfor %}"),
              HasSubstr("nest deeper than the limit of 64"));
  EXPECT_THAT(render("{% set n = namespace(l=1) %}{% for i in range(99) %}"
                     "{% for x in [n.l, 1] %}{% set n.l = loop %}{% endfor %}{% endfor %}"),
              HasSubstr("nest deeper than the limit of 64"));
  EXPECT_THAT(render("{% set n = namespace(l=1) %}{% set n.l = [n] %}"),
              HasSubstr("a namespace inside another value"));
  EXPECT_THAT(render("{% set n = namespace(l=1) %}{% set n.l = n %}"),
              HasSubstr("a namespace inside another value"));
}

TEST(ChatTemplate, SourcesOverAMebibyteAreRefused) {
  EXPECT_THAT(render(std::string((1 << 20) + 1, 'x')), HasSubstr("at most 1048576 bytes"));
}

TEST(ChatTemplate, IntegersAreChecked) {
  EXPECT_THAT(render("{{ 9223372036854775807 + 1 }}"), HasSubstr("an integer beyond 64 bits"));
  EXPECT_THAT(render("{{ 9223372036854775808 }}"), HasSubstr("integers have at most 63 bits"));
  EXPECT_THAT(render("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("beyond 64 bits"));
}

}  // namespace
}  // namespace ebb::models
