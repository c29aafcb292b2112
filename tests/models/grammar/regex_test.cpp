// Regular expressions against std::regex, and what is refused.
#include "models/grammar/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/models/grammar/texts.h"

namespace ebb::models::grammar::testing {
namespace {

using ::testing::HasSubstr;

/// A random expression over few letters, in syntax that both sides know.
std::string random_pattern(std::mt19937_64& random, int depth) {
  static const std::vector<std::string> kAtoms = {"a",    "b",    "c",      "ab",  ".",
                                                  "[ab]", "[^a]", "[a-c1]", "\\d", "\\w",
                                                  "\\.",  "1",    "[b-]",   "\\s", "(?:)"};
  if (depth == 0 || random() % 3 == 0) return kAtoms[random() % kAtoms.size()];
  static const std::vector<std::string> kRepeats = {"*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"};
  const std::string inner = random_pattern(random, depth - 1);
  switch (random() % 3) {
    case 0:
      return inner + random_pattern(random, depth - 1);
    case 1:
      return "(" + inner + "|" + random_pattern(random, depth - 1) + ")";
    default:
      return "(?:" + inner + ")" + kRepeats[random() % kRepeats.size()];
  }
}

std::string random_text(std::mt19937_64& random) {
  static const std::string kLetters = "aabbc1. -\nZ";
  std::string text(random() % 9, ' ');
  for (char& c : text) c = kLetters[random() % kLetters.size()];
  return text;
}

TEST(GrammarRegex, AgreesWithStdRegexOnRandomExpressionsAndTexts) {
  std::mt19937_64 random(7);
  int matched = 0;
  for (int i = 0; i < 250; ++i) {
    const std::string pattern = random_pattern(random, 4);
    Language ours = regex(pattern);
    const std::regex reference(pattern);
    for (int j = 0; j < 40; ++j) {
      // Random texts rarely match: half of them are ours, perhaps with a letter changed.
      std::string text = j % 2 == 0 ? random_text(random) : ours.random_text(random, 4);
      if (j % 4 == 1 && !text.empty()) text[random() % text.size()] = 'a';
      const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; });
      if (!ascii || text.size() > 14) continue;  // std::regex knows no UTF-8, and recurses
      const bool expected = std::regex_match(text, reference);
      matched += expected ? 1 : 0;
      ASSERT_EQ(ours.has(text), expected) << "/" << pattern << "/ on \"" << text << '"';
    }
  }
  EXPECT_GT(matched, 1500);
}

TEST(GrammarRegex, WhatRandomWalksSpellMatches) {
  std::mt19937_64 random(3);
  for (const std::string pattern :
       {"[A-Z][a-z]{2,5}( [A-Z][a-z]*)?", "(\\d{3}-){2}\\d{4}", "(yes|no|maybe)(, (yes|no))*",
        "-?(0|[1-9]\\d*)(\\.\\d+)?", "((ab?){2}c){1,3}", "x{0,40}y{40}"}) {
    Language ours = regex(pattern);
    for (int i = 0; i < 50; ++i) {
      const std::string text = ours.random_text(random, 30);
      ASSERT_TRUE(std::regex_match(text, std::regex(pattern))) << pattern << ": " << text;
    }
  }
}

TEST(GrammarRegex, CountsAreCodePoints) {
  Language three = regex(".{3}");
  EXPECT_TRUE(three.has("a\xC3\xA4\xE2\x82\xAC"));
  EXPECT_TRUE(three.has("\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80"));
  EXPECT_FALSE(three.has("\xC3\xA4\xC3\xA4"));
  EXPECT_FALSE(three.has("ab\n"));
  EXPECT_TRUE(three.begins("\xF0\x9F"));
}

TEST(GrammarRegex, ClassesOfUnicodeHoldExactlyTheirMembers) {
  Language greek = regex("[\\u0391-\\u03C9]+");
  EXPECT_TRUE(greek.has("\xCE\x91\xCF\x89"));
  EXPECT_FALSE(greek.has("\xCF\x8A"));  // U+03CA
  Language not_greek = regex("[^\\u0391-\\u03C9]");
  EXPECT_TRUE(not_greek.has("\xCF\x8A"));
  EXPECT_FALSE(not_greek.has("\xCE\x92"));
  Language emoji = regex("[\\u{1F600}-\\u{1F64F}]");
  EXPECT_TRUE(emoji.has("\xF0\x9F\x98\x80"));
  EXPECT_FALSE(emoji.has("\xF0\x9F\x99\x90"));  // U+1F650
  EXPECT_TRUE(regex("\\uD83D\\uDE00").has("\xF0\x9F\x98\x80"));
  EXPECT_FALSE(regex("\\S").has("\xC2\xA0")) << "U+00A0 is a space in ECMA-262";
}

/// Every code point from U+0000 to U+FFFF and some above, one by one.
TEST(GrammarRegex, EveryCodePointOfARangeIsSpelledOnce) {
  const CodePointSet set(
      {{0x30, 0x39}, {0x7F, 0x90}, {0x7F0, 0x812}, {0xD7FE, 0xE001}, {0xFFF0, 0x1000F}});
  GrammarBuilder builder;
  const Rule rule = builder.add_rule();
  add_code_points(builder, builder.start(rule), set, Spelling::kPlain, builder.accept(rule));
  Language language(*builder.finish(rule));
  for (uint32_t c = 0; c < 0x10100; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    if (c < 0x80) {
      text = {static_cast<char>(c)};
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 63)),
              static_cast<char>(0x80 | (c & 63))};
    } else {
      text = {static_cast<char>(0xF0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 63)),
              static_cast<char>(0x80 | ((c >> 6) & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    ASSERT_EQ(language.has(text), set.contains(c)) << c;
  }
  EXPECT_FALSE(language.begins("\xED\xA0")) << "surrogates have no UTF-8";
  EXPECT_FALSE(language.begins("\xC1")) << "overlong";
}

TEST(GrammarRegex, LazyQuantifiersAndAnchorsAtTheEndsChangeNothing) {
  for (const char* pattern : {"ab*c", "^ab*c$", "ab*?c", "(^ab*c$)", "^(ab*c)$"}) {
    EXPECT_TRUE(regex(pattern).has("abbc")) << pattern;
    EXPECT_FALSE(regex(pattern).has("xabbc")) << pattern;
    EXPECT_FALSE(regex(pattern).has("abbcx")) << pattern;
  }
}

TEST(GrammarRegex, CountsWithinCountsAddUp) {
  Language language = regex("(((a{4096}){4096}){4096}){4096}");
  EXPECT_TRUE(language.begins(std::string(10000, 'a')));
  EXPECT_FALSE(language.has(std::string(10000, 'a')));
}

TEST(GrammarRegex, WhatIsNotRegularOrNotKnownIsRefusedWithItsPosition) {
  const std::vector<std::pair<std::string, std::string>> kBad = {
      {"a(?=b)", "byte 2: of groups"},
      {"(?<n>a)", "byte 1: of groups"},
      {"(?i)a", "byte 1: of groups"},
      {"(a)\\1", "byte 4: back-references"},
      {"\\bword", "byte 1: word boundaries"},
      {"\\p{L}", "byte 1: Unicode properties"},
      {"a**", "byte 3: nothing to repeat"},
      {"*a", "byte 0: nothing to repeat"},
      {"a++", "byte 2: possessive"},
      {"(a", "byte 2: missing )"},
      {"a)", "byte 1: unmatched )"},
      {"[a", "missing ]"},
      {"[b-a]", "backwards"},
      {"[]", "no members"},
      {"a{3,2}", "backwards"},
      {"a{,2}", "must be followed by a count"},
      {"a{5000}", "at most 4096 times"},
      {"a{99999999999}", "at most 4096 times"},
      {"x{2", "a count ends in }"},
      {"a^b", "^ and $ are supported"},
      {"(a$)b", "^ and $ are supported"},
      {"\\", "ends in \\"},
      {"\\y", "unknown escape"},
      {"\\uD800", "half of a surrogate pair"},
      {"\\u{110000}", "code points end"},
      {"\\x4", "2 hexadecimal digits"},
      {"\xC3", "not valid UTF-8"},
      {std::string(65, '(') + std::string(65, ')'), "nest deeper than 64"},
      {std::string(20000, 'a'), "at most 16384 bytes"},
  };
  for (const auto& [pattern, part] : kBad) {
    EXPECT_THAT(refusal(ConstraintKind::kRegex, pattern), HasSubstr(part)) << pattern;
  }
  std::string large;
  for (int i = 0; i < 1000; ++i) large += "[^x]{4096}";
  EXPECT_THAT(refusal(ConstraintKind::kRegex, large), HasSubstr("too large"));
}

TEST(GrammarRegex, AnyBytesAreRefusedOrCompiled) {
  std::mt19937_64 random(11);
  static const std::string kSyntax = "ab01(){}[]|*+?.^$\\-,:=!<>dwsuxpDWS\xC3\xA4";
  for (int i = 0; i < 20000; ++i) {
    std::string pattern(random() % 24, ' ');
    for (char& c : pattern) c = kSyntax[random() % kSyntax.size()];
    refusal(ConstraintKind::kRegex, pattern);
  }
}

TEST(GrammarChoice, IsOneOfTheTextsWhole) {
  auto grammar =
      compile_constraint(ConstraintKind::kChoice, choice_source({"yes", "no", "not \"sure\"\n"}));
  ASSERT_TRUE(grammar) << grammar.error().message;
  Language language(*std::move(grammar));
  EXPECT_TRUE(language.has("yes"));
  EXPECT_TRUE(language.has("no"));
  EXPECT_TRUE(language.has("not \"sure\"\n"));
  EXPECT_FALSE(language.has("not"));
  EXPECT_FALSE(language.has("yesno"));
  EXPECT_TRUE(language.ends_after("yes"));
  EXPECT_FALSE(language.ends_after("no"));
}

TEST(GrammarChoice, EmptyListsAndTextsAreRefused) {
  EXPECT_THAT(refusal(ConstraintKind::kChoice, "[]"), HasSubstr("1 to 1024 strings"));
  EXPECT_THAT(refusal(ConstraintKind::kChoice, "[\"\"]"), HasSubstr("not empty"));
  EXPECT_THAT(refusal(ConstraintKind::kChoice, "[1]"), HasSubstr("not an integer"));
}

}  // namespace
}  // namespace ebb::models::grammar::testing
