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
  EXPECT_THAT(render("{% include 'x' %}"), HasSubstr("the tag 'include'"));
  EXPECT_THAT(render("{% for x in y recursive %}{% endfor %}"), HasSubstr("a recursive loop"));
  EXPECT_THAT(render("{% if x is nosuch 1 %}{% endif %}"), HasSubstr("the test 'nosuch'"));
  EXPECT_THAT(render("{{ x.format(1) }}"), HasSubstr("the method 'format'"));
  EXPECT_THAT(render("{{ 2 ** 3 }}"), HasSubstr("the operator '**'"));
  EXPECT_THAT(render("{{ f(*x) }}"), HasSubstr("unpacking arguments by '*'"));
}

TEST(ChatTemplate, WrongArgumentsAreFoundWhenItIsParsed) {
  EXPECT_THAT(render("{{ 'a' | trim(1, 2) }}"), HasSubstr("'trim' takes at most 1 arguments"));
  EXPECT_THAT(render("{{ 'a' | replace('b') }}"), HasSubstr("'replace' needs the argument 'new'"));
  EXPECT_THAT(render("{{ [] | tojson(colour=1) }}"),
              HasSubstr("'tojson' has no parameter 'colour'"));
  EXPECT_THAT(render("{{ 'a' | replace('b', 'c', old='d') }}"),
              HasSubstr("'replace' has 'old' twice"));
}

TEST(ChatTemplate, AnUndefinedNameIsEmptyAsTextAndAnErrorWhereMoreIsWantedOfIt) {
  EXPECT_EQ(render("x{{ nobody }}"), "x");
  EXPECT_EQ(render("{% if nobody %}a{% elif nobody is defined %}b{% else %}c{% endif %}"), "c");
  EXPECT_EQ(render("x{{ nobody.at_home }}"),
            "invalid: chat template: line 1, column 12: 'nobody' is undefined");
  EXPECT_THAT(render("{{ messages[0].thought + '' }}", {message("user", "hi")}),
              HasSubstr("'thought' is undefined"));
  EXPECT_THAT(render("{{ nobody() }}"), HasSubstr("'nobody' is undefined"));
}

TEST(ChatTemplate, TheClockIsTheCallers) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%d %b %Y') }}", "", "");
  ASSERT_TRUE(parsed);
  ChatInput input;
  std::tm& time = input.local_time.emplace();
  time.tm_year = 99;
  time.tm_mon = 11;
  time.tm_mday = 31;
  EXPECT_EQ(*(*parsed)->render(input), "31 Dec 1999");
}

TEST(ChatTemplate, AClockThatNobodyBroughtIsAnErrorNotTheYear1900) {
  EXPECT_THAT(render("a\n{{ strftime_now('%Y') }}"),
              HasSubstr("line 2, column 4: strftime_now(): this caller tells no time"));
}

TEST(ChatTemplate, TimesAreBoundedInLength) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now(messages[0].content) }}", "", "");
  ASSERT_TRUE(parsed);
  const auto told = [&](const std::string& format) {
    ChatInput input;
    input.local_time.emplace();
    input.messages = {message("user", format)};
    const auto text = (*parsed)->render(input);
    return text ? *text : text.error().text();
  };
  EXPECT_THAT(told("%999999999d"), HasSubstr("the result is too long"));
  EXPECT_THAT(told(std::string(300, 'x')), HasSubstr("at most 256 bytes"));
}

TEST(ChatTemplate, ATemplateThatAsksForTheTimeIsStillProbedForParts) {
  const auto parsed = ChatTemplate::parse(
      "{{ strftime_now('%Y') }}{% for m in messages %}{% if m.content is string %}{{ m.content }}"
      "{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}",
      "", "");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE((*parsed)->takes_content_parts({}));
}

TEST(ChatTemplate, AChainOfTestsIsRefusedAsJinja2RefusesIt) {
  EXPECT_THAT(render("{{ 1 is odd is true }}"),
              HasSubstr("line 1, column 13: tests cannot be chained"));
}

TEST(ChatTemplate, RaiseExceptionEndsRenderingWithItsMessage) {
  EXPECT_EQ(
      render("a\n{{ raise_exception('system comes first') }}"),
      "invalid: chat template: line 2, column 4: the chat template refuses: system comes first");
}

TEST(ChatTemplate, AMessageOfMegabytesIsCut) {
  const std::string raised = render("{{ raise_exception('x' * 3000000) }}");
  EXPECT_THAT(raised, HasSubstr("the chat template refuses: xxxx"));
  EXPECT_LT(raised.size(), 3000u);
  const std::string unknown = render("{{ " + std::string(100'000, 'n') + " + 1 }}");
  EXPECT_THAT(unknown, HasSubstr("nnnn"));
  EXPECT_LT(unknown.size(), 3000u);
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

TEST(ChatTemplate, LettersWhoseSmallFormDependsOnTheirPlaceAreRefused) {
  EXPECT_EQ(render("{{ 'ÀÉÑ' | lower }}{{ 'straße' | upper }}"), "àéñSTRASSE");
  EXPECT_THAT(render("{{ 'ΟΔΟΣ' | lower }}"), HasSubstr("unsupported: chat template: line 1"));
}

TEST(ChatTemplate, LoopsAreBoundedInSteps) {
  const ChatTemplate::Limits limits{.steps_max = 10'000, .output_max = 1 << 20};
  EXPECT_THAT(render("{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
                     {}, limits),
              HasSubstr("exhausted: chat template: line 1"));
  EXPECT_THAT(render("{{ range(99999) | length }}", {}, limits), HasSubstr("limit of 10000 steps"));
  EXPECT_THAT(render("{{ (1, 2) * 999999999999 }}", {}, limits), HasSubstr("10000 steps"));
  EXPECT_THAT(render("{{ range(1000000000) }}"), HasSubstr("at most 100000 elements"));
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
  const ChatTemplate::Limits limits{.steps_max = 1'000'000, .output_max = 100'000};
  const auto refuses = [&](const std::string& source, const char* what) {
    EXPECT_THAT(render(source, {}, limits), HasSubstr(what)) << source;
  };
  refuses("{% set s = 'x' * 99999999999999 %}", "bytes of text");
  refuses(
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}"
      "{% endfor %}",
      "bytes of text");
  const std::string big = "{% set s = 'a' * 100000 %}";
  refuses(big + "{% set t = s.replace('a', s) %}", "bytes of text");
  refuses(big + "{{ [s, s, s, s, s] | tojson | length }}", "bytes of text");
  refuses(big + "{{ [s, s, s, s, s] | string | length }}", "bytes of text");
  refuses(big + "{{ s | indent(99) | join('-----') | length }}", "bytes of text");
  refuses(big + "{% macro f() %}{{ s }}{{ s }}{{ s }}{{ s }}{% endmacro %}{{ f() | length }}",
          "output limit");
  refuses(big +
              "{% set u = s ~ 'b' %}{% set t = s ~ 'c' %}{% for i in range(9999) %}"
              "{% if u == t %}{% endif %}{% endfor %}",
          "bytes looked through");
  refuses(big + "{% for i in range(9999) %}{% set t = 'b' in s %}{% endfor %}",
          "bytes looked through");
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

TEST(ChatTemplate, MacrosThatCallThemselvesEndAtALimit) {
  EXPECT_THAT(render("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"),
              HasSubstr("nests deeper than the limit of 1000 levels"));
  EXPECT_THAT(render("{% macro f() %}{% call f() %}{{ caller }}{% endcall %}{% endmacro %}"
                     "{% call f() %}{% endcall %}"),
              HasSubstr("line 1"));
  EXPECT_EQ(render("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}"
                   "{{ f(9) }}"),
            "9876543210");
}

TEST(ChatTemplate, ValuesNeitherNestWithoutEndNorHoldThemselves) {
  EXPECT_THAT(render("{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = [n.l] %}"
                     "{% endfor %}"),
              HasSubstr("nest deeper than the limit of 128"));
  const std::string n = "{% set n = namespace(l=1) %}";
  const std::string macro = "{% macro f() %}{% endmacro %}";
  const std::vector<std::string> sources = {
      n + "{% set n.l = [n] %}",
      n + "{% set n.l = n %}",
      n + "{% set x = {'a': n} %}",
      n + "{% for x in [1] %}{% set n.l = loop %}{% endfor %}",
      n + "{% set x = namespace(a=n) %}",
      n + macro + "{% set n.f = f %}",
      macro + "{% set x = [f] %}",
      "{% set x = [range] %}",
      n + "{% macro g() %}{{ varargs }}{% endmacro %}{{ g(n) }}",
      "{{ dict(a=namespace()) }}"};
  for (const std::string& source : sources) {
    EXPECT_THAT(render(source), HasSubstr("inside another value")) << source;
  }
}

TEST(ChatTemplate, TemplatesThatKnowPartsAreToldFromOthers) {
  const auto takes = [](const std::string& source) {
    const auto parsed = ChatTemplate::parse(source, "", "");
    return parsed && (*parsed)->takes_content_parts({});
  };
  EXPECT_FALSE(takes("{% for m in messages %}{{ m.content }}{% endfor %}"));
  EXPECT_FALSE(takes("{% for m in messages %}{{ m.content | trim }}{% endfor %}"));
  EXPECT_FALSE(takes("{{ raise_exception('nothing works') }}"));
  EXPECT_FALSE(takes("no messages at all"));
  EXPECT_TRUE(
      takes("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
            "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}"));
}

TEST(ChatTemplate, AnAnswerCanOnlyBeContinuedWhereItsTextStays) {
  const auto carry_on = [](const std::string& source, const std::string& content) {
    const auto parsed = ChatTemplate::parse(source, "", "");
    EXPECT_TRUE(parsed);
    ChatInput input;
    input.messages = {message("assistant", content)};
    input.continue_final_message = true;
    const auto text = (*parsed)->render(input);
    return text ? *text : text.error().text();
  };
  EXPECT_EQ(carry_on("<{{ messages[0].content }}>end", " a "), "< a ");
  EXPECT_EQ(carry_on("<{{ messages[0].content | trim }}>end", " a "), "<a");
  EXPECT_EQ(carry_on("{{ messages[0].content }}|{{ messages[0].content }}>", "a"), "a|a");
  EXPECT_THAT(carry_on("<{{ messages[0].role }}>", "a"), HasSubstr("changes or leaves out"));
  EXPECT_THAT(carry_on("<{{ messages[0].content[2:] }}>", "abc"), HasSubstr("leaves out"));
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
