// Templates and messages that mean harm: they end with an error that says where, after bounded work
// and on a small stack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <functional>
#include <vector>

#include "models/chat_template.h"

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStackMax = 3 << 20;  // frames with red zones
#else
constexpr size_t kStackMax = 1 << 20;
#endif

jinja::Value message(std::string content) {
  jinja::Dict dict;
  dict.set("role", "user");
  dict.set("content", std::move(content));
  return dict;
}

/// The text, or the error's.
std::string render(const std::string& source, jinja::List messages = {},
                   ChatTemplate::Limits limits = {}) {
  const auto parsed = ChatTemplate::parse({{"default", source}}, {}, limits);
  if (!parsed) return parsed.error().text();
  ChatInput input;
  input.messages = std::move(messages);
  const auto text = (*parsed)->render(input);
  return text ? *text : text.error().text();
}

std::string repeated(std::string_view part, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += part;
  return all;
}

/// `inner` between `count` times `open` and as many `close`.
std::string nested(size_t count, const char* open, const char* close,
                   const std::string& inner = "1") {
  return repeated(open, count) + inner + repeated(close, count);
}

/// Runs `work` on a thread of its own and tells how deep its stack grew, in bytes. A stack of four
/// times kStackMax, so that too deep is a failure of the test and not of the process.
size_t stack_used(const std::function<void()>& work) {
  constexpr char kPaint = 0x5A;
  std::vector<char> stack(4 * kStackMax + 4096, kPaint);
  const auto address = reinterpret_cast<uintptr_t>(stack.data());
  char* const begin = stack.data() + (4096 - address % 4096) % 4096;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  EXPECT_EQ(pthread_attr_setstack(&attributes, begin, 4 * kStackMax), 0);
  pthread_t thread{};
  const auto run = [](void* given) -> void* {
    (*static_cast<const std::function<void()>*>(given))();
    return nullptr;
  };
  EXPECT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&work)),
            0);
  EXPECT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
  size_t untouched = 0;
  while (untouched < 4 * kStackMax && begin[untouched] == kPaint) ++untouched;
  return 4 * kStackMax - untouched;
}

TEST(HostileTemplate, NestingEndsWellBeforeASmallStackDoes) {
  const std::string f = "{% macro f(x) %}{{ ((((f(((((x)))))))))|trim }}{% endmacro %}";
  const std::vector<std::string> refused = {
      "{{ " + nested(1000, "(", ")") + " }}",
      "{{ " + nested(1000, "[", "]") + " }}",
      "{{ " + nested(1000, "{'a':", "}") + " }}",
      "{{ " + nested(1000, "f(", ")") + " }}",
      "{{ " + nested(1000, "x[", "]") + " }}",
      "{{ " + repeated("not ", 1000) + "1 }}",
      "{{ " + repeated("-", 1000) + "1 }}",
      "{{ " + repeated("1 if 1 else ", 1000) + "1 }}",
      "{% for " + nested(1000, "(", ")", "a,b") + " in x %}{% endfor %}",
      nested(1000, "{% if 1 %}", "{% endif %}"),
      nested(1000, "{% for i in [1] %}", "{% endfor %}"),
      nested(1000, "{% macro f() %}", "{% endmacro %}"),
      nested(1000, "{% call f() %}", "{% endcall %}"),
      nested(1000, "{% filter trim %}", "{% endfilter %}"),
      nested(1000, "{% set x %}", "{% endset %}"),
      nested(1000, "{% with x = 1 %}", "{% endwith %}"),
      nested(1000, "{% generation %}", "{% endgeneration %}"),
      "{{ 1" + repeated("+1", 5000) + " }}",
      "{{ x" + repeated(".x", 5000) + " }}",
      "{{ x" + repeated("[0]", 5000) + " }}",
      "{{ x" + repeated("()", 5000) + " }}",
      "{{ x" + repeated("|trim", 5000) + " }}",
      f + "{{ f(1) }}",
      "{% macro f() %}{% if 1 %}{% for x in [1] %}{% filter trim %}{{ f() }}{% endfilter %}"
      "{% endfor %}{% endif %}{% endmacro %}{{ f() }}",
      "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
      "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% macro g() %}"
      "{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}",
  };
  for (const std::string& source : refused) {
    std::string text;
    const size_t used = stack_used([&] { text = render(source); });
    EXPECT_THAT(text, HasSubstr("chat template: line 1, column ")) << source.substr(0, 80);
    EXPECT_LT(used, kStackMax) << source.substr(0, 80);
  }
}

TEST(HostileTemplate, WhatMayNestGivesItsTextOnASmallStack) {
  const std::vector<std::pair<std::string, std::string>> accepted = {
      {"{{ " + nested(30, "(", ")") + " }}", "1"},
      {"{{ " + nested(30, "[", "]") + " | string | length }}", "61"},
      {nested(45, "{% if 1 %}", "{% endif %}"), "1"},
      {nested(30, "{% for i in [1] %}", "{% endfor %}"), "1"},
      {"{{ 1" + repeated("+1", 400) + " }}", "401"},
      {"{{ 'a'" + repeated("|trim", 400) + " }}", "a"},
      {"{% set n = namespace(l=[]) %}{% for i in range(100) %}{% set n.l = [n.l] %}{% endfor %}"
       "{{ n.l | tojson | length }}",
       "202"},
      {"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ f(99) }}",
       "end"},
  };
  for (const auto& [source, wanted] : accepted) {
    std::string text;
    const size_t used = stack_used([&] { text = render(source); });
    EXPECT_EQ(text, wanted) << source.substr(0, 80);
    EXPECT_LT(used, kStackMax) << source.substr(0, 80);
  }
}

TEST(HostileTemplate, WidthsAndCountsAreRefusedBeforeTheyCostMemory) {
  const ChatTemplate::Limits limits{.steps_max = 1'000'000, .output_max = 1 << 20};
  const auto refuses = [&](const std::string& source, const char* what) {
    const std::string text = render(source, {}, limits);
    EXPECT_THAT(text, HasSubstr("line 1, column ")) << source;
    EXPECT_THAT(text, HasSubstr(what)) << source;
  };
  refuses("{{ 'x' * 1000000000 }}", "bytes of text");
  refuses("{{ 1000000000000 * 'x' }}", "bytes of text");
  refuses("{{ [1] * 1000000000 }}", "steps");
  refuses("{{ range(1000000000) | list }}", "at most 100000 elements");
  refuses("{{ range(0, 9223372036854775807, 1) }}", "at most 100000 elements");
  refuses("{{ range(99999) | join('x' * 9999) }}", "bytes of text");
  refuses("{{ [1] | tojson(indent=1000000000) }}", "a width is at most");
  refuses("{{ ([[[1]]] * 9999) | tojson(indent=60000) }}", "bytes of text");
  refuses("{{ [1] | tojson(indent='x' * 90000000) }}", "bytes of text");
  refuses("{{ 'x' | indent(1000000000) }}", "a width is at most");
  refuses("{{ ('x\\n' * 9999) | indent(60000) }}", "bytes of text");
  refuses("{{ 'x' | center(1000000000) }}", "a width is at most");
  refuses("{{ 'x'.ljust(1000000000) }}", "a width is at most");
  refuses("{{ 'x'.zfill(1000000000) }}", "a width is at most");
  refuses("{{ '%1000000000d' | format(1) }}", "a number over");
  refuses("{{ '%.1000000000f' % 1 }}", "a number over");
  refuses("{{ '%9999s' * 20000 % ([1] * 20000) }}", "fewer values");
  refuses("{{ ('%(a)60000d' * 3000) | format(a=1) }}", "bytes of text");
  refuses("{{ 1 | round(1000000000) }}", "too many places");
  refuses("{{ [1] | batch(1000000000, 0) | list }}", "steps");
  refuses("{{ [1] | slice(1000000000) | list }}", "steps");
  refuses("{{ '' | replace('', 'x' * 90000000) | replace('x', 'xxxx') }}", "bytes of text");
  refuses("{{ [{}] | map(attribute='a.' * 5000) | list }}", "at most 1024 bytes");
}

/// Each of these would take minutes if looking for text took as long as both sizes multiplied, or
/// if keys were compared for nothing.
TEST(HostileTemplate, LookingForTextIsLinearOrPaidFor) {
  const std::string big = "{% set s = 'a' * 1000000 %}{% set t = 'a' * 500000 ~ 'b' %}";
  EXPECT_EQ(render(big + "{{ t in s }}{{ s.find(t) }}{{ s.count(t) }}{{ s.split(t) | length }}"
                         "{{ s.replace(t, '') | length }}"),
            "False-1011000000");
  EXPECT_THAT(render(big + "{{ s.rfind(t) }}"), HasSubstr("bytes looked through"));
  EXPECT_THAT(render(big + "{{ s.rsplit(t) }}"), HasSubstr("bytes looked through"));
  EXPECT_THAT(render(big + "{{ s.rpartition(t) }}"), HasSubstr("bytes looked through"));
  EXPECT_THAT(render(big + "{{ s.startswith((t,) * 9999) }}"), HasSubstr("bytes looked through"));
  std::string keys = "{% set s = 'a' * 400000 %}{% for i in range(99) %}{% set d = {";
  for (int i = 100; i < 250; ++i) keys += "s ~ " + std::to_string(i) + ": 1, ";
  EXPECT_THAT(render(keys + "} %}{% endfor %}"), HasSubstr("chat template: line 1, column "));
  EXPECT_EQ(render("{{ 'a</think>b</think>c'.rsplit('</think>', 1) | last }}"), "c");
}

TEST(HostileTemplate, NamesThatAreNotThereAreNotKeptInFull) {
  const std::string source = "{% set s = 'a' * 1000000 %}{{ {}[s] is defined }}{{ {}[s].x }}";
  const std::string text = render(source);
  EXPECT_THAT(text, HasSubstr("aaa...' is undefined"));
  EXPECT_LT(text.size(), 300u);
}

TEST(HostileMessages, TheirTextCannotHideWhereAnAnswerIsContinued) {
  const auto parsed = ChatTemplate::parse("<{{ messages[0].content }}>end", "", "");
  ASSERT_TRUE(parsed);
  ChatInput input;
  input.continue_final_message = true;
  for (const std::string text : {"#ebb-cut-0#", "#ebb-cut-#ebb-cut-000#", "#ebb-cut-"}) {
    input.messages = {message(text)};
    const auto got = (*parsed)->render(input);
    ASSERT_TRUE(got) << got.error().text();
    EXPECT_EQ(*got, "<" + text);
  }
  std::string many;
  for (int i = 0; i < 200'000; ++i) many += "#ebb-cut-" + std::to_string(i) + "#";
  input.messages = {message(many)};
  EXPECT_EQ(*(*parsed)->render(input), "<" + many);
}

}  // namespace
}  // namespace ebb::models
