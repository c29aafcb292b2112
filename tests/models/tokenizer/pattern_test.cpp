#include "models/tokenizer/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/tokenizer/known_patterns.h"
#include "models/tokenizer/pattern_syntax.h"
#include "models/utf8.h"
#include "tests/models/tokenizer/generated_lines.h"

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Compile = Result<std::unique_ptr<Pattern>> (*)(std::string_view);

std::vector<std::string> matches(std::string_view pattern, std::string_view text,
                                 Compile compile = Pattern::compile) {
  const auto compiled = compile(pattern);
  EXPECT_TRUE(compiled.has_value()) << pattern << ": " << compiled.error().text();
  PatternRun run(text.size());
  std::vector<TextSpan> spans;
  const auto found = (*compiled)->find_all(text, run, spans);
  EXPECT_TRUE(found.has_value()) << found.error().text();
  std::vector<std::string> out;
  for (const TextSpan& span : spans)
    out.emplace_back(text.substr(span.begin, span.end - span.begin));
  return out;
}

std::string refusal(std::string_view pattern) {
  const auto compiled = Pattern::compile(pattern);
  return compiled ? "accepted" : compiled.error().text();
}

TEST(Pattern, FindsMatchesFromLeftToRight) {
  EXPECT_THAT(matches("a|bc", "xabcab"), ElementsAre("a", "bc", "a"));
  EXPECT_THAT(matches("(?<!x)a+(?=b)", "xab aab"), ElementsAre("aa"));
}

TEST(Pattern, AnEmptyMatchRightBehindAMatchIsNone) {
  EXPECT_THAT(matches("a*", "baac"), ElementsAre("", "aa", ""));
  EXPECT_THAT(matches("x*", "\u00e9b"), ElementsAre("", "", ""));
}

TEST(Pattern, ClassesAreOnigurumasAndNotPcres) {
  EXPECT_THAT(matches("\\s", "\u180E\u0085\u3000"), ElementsAre("\u0085", "\u3000"));
  EXPECT_THAT(matches("\\h", "g7F"), ElementsAre("7", "F"));
  EXPECT_THAT(matches("\\v", "\n\x0B\u2028"), ElementsAre("\x0B"));
  EXPECT_THAT(matches("\\w", "a_\u0301\u203F-\u24B6\u00B2"),
              ElementsAre("a", "_", "\u0301", "\u203F", "\u24B6", "\u00B2"));
  EXPECT_THAT(matches("[\\w-]+", "a-b c"), ElementsAre("a-b", "c"));
  // U+30FC is used with two scripts and belongs to none of them.
  EXPECT_THAT(matches("\\p{Katakana}", "\u30AB\u30FC"), ElementsAre("\u30AB"));
}

TEST(Pattern, CharactersThatUnicodeAddedSincePcresTablesAreKnown) {
  // A letter of Unicode 16, a digit of 16, an ideograph of 15.1, a mark of 15, a symbol of 16.
  const std::string text = "\u1C89\U00010D40\U0002EBF0\U00010EFD\U0001CC00";
  EXPECT_THAT(matches("\\p{L}+", text), ElementsAre("\u1C89", "\U0002EBF0"));
  EXPECT_THAT(matches("\\p{N}|\\d", text), ElementsAre("\U00010D40"));
  EXPECT_THAT(matches("[\\p{M}]", text), ElementsAre("\U00010EFD"));
  EXPECT_THAT(matches("\\p{Han}", text), ElementsAre("\U0002EBF0"));
  EXPECT_THAT(matches("[^\\s\\p{L}\\p{N}]+", text), ElementsAre("\U00010EFD\U0001CC00"));
  EXPECT_THAT(matches("\\P{L}+", text), ElementsAre("\U00010D40", "\U00010EFD\U0001CC00"));
  EXPECT_THAT(matches("\\W", text), ElementsAre("\U0001CC00"));
}

TEST(Pattern, LineEndsAreOnigurumas) {
  EXPECT_THAT(matches("^a|b$", "a\nab\nb"), ElementsAre("a", "a", "b", "b"));
  EXPECT_THAT(matches(".+", "a\rb\nc"), ElementsAre("a\rb", "c"));
}

TEST(Pattern, AnIntervalWithAPlusRepeatsTheInterval) {
  EXPECT_EQ(*pcre2_syntax("a{2,3}+"), "(?:a{2,3})+");
  EXPECT_EQ(*pcre2_syntax("(ab){2}+c"), "(?:(?:ab){2})+c");
  EXPECT_EQ(*pcre2_syntax("a{,3}"), "a{0,3}");
  EXPECT_THAT(matches("a{2}+", "aaaaa"), ElementsAre("aaaa"));
  EXPECT_THAT(matches("a?+ab", "aab ab"), ElementsAre("aab"));
}

TEST(Pattern, CharactersAreSpelledOneWayHoweverTheFileSpellsThem) {
  EXPECT_EQ(*pcre2_syntax("[\r\n]\u4E00-"), *pcre2_syntax("[\\r\\n]\\x{4e00}\\-"));
  EXPECT_EQ(*pcre2_syntax("\\u00e9"), *pcre2_syntax("\u00e9"));
}

TEST(Pattern, RefusesWhatTheTwoSyntaxesReadDifferently) {
  EXPECT_THAT(refusal("a\\Rb"), HasSubstr("has '\\R' (byte 1), which is not supported"));
  EXPECT_THAT(refusal("[a[b]]"), HasSubstr("a set inside a set (byte 2)"));
  EXPECT_THAT(refusal("[a&&b]"), HasSubstr("'&&' in a set"));
  EXPECT_THAT(refusal("[[:alpha:]]"), HasSubstr("a set inside a set"));
  EXPECT_THAT(refusal("(?m:a)"), HasSubstr("'(?m'"));
  EXPECT_THAT(refusal("a(?i)b"), HasSubstr("'(?i'"));
  EXPECT_THAT(refusal("(?<n>a)"), HasSubstr("'(?<'"));
  EXPECT_THAT(refusal("(a)\\1"), HasSubstr("'\\1'"));
  EXPECT_THAT(refusal("a{2}?"), HasSubstr("'{2}?'"));
  EXPECT_THAT(refusal("a{99999}"), HasSubstr("no repeat of at most 1000"));
  EXPECT_THAT(refusal("(?i:stop)"), HasSubstr("'st' where case is ignored"));
  EXPECT_THAT(refusal("(?i:\\p{Lu})"), HasSubstr("property of case"));
  EXPECT_THAT(refusal("[\\P{L}]"), HasSubstr("a negated property in a set"));
  EXPECT_THAT(refusal("\\p{Alphabetic}"), HasSubstr("the property 'Alphabetic'"));
  EXPECT_THAT(refusal("(*COMMIT)a"), HasSubstr("is not supported"));
  EXPECT_THAT(refusal("a**"), HasSubstr("a repeat of nothing"));
}

TEST(Pattern, RefusesWhatIsNoPattern) {
  for (const char* bad : {"(", ")", "[a", "a\\", "\\p{L", "\\p{Nonsense}", "[b-a]", "(?<=a+)b"}) {
    EXPECT_THAT(refusal(bad), HasSubstr("invalid")) << bad;
  }
  EXPECT_THAT(refusal(std::string(100, '(') + std::string(100, ')')),
              HasSubstr("nested this deep"));
}

TEST(Pattern, APatternThatTriesEveryWayEndsAtItsLimit) {
  for (const char* pattern : {"(?:a+)+$", "(?:a|a)*b", "a+b", "a++b", "(?:a?){30}a{30}b"}) {
    const auto compiled = Pattern::compile(pattern);
    ASSERT_TRUE(compiled.has_value()) << pattern;
    const std::string text = std::string(300'000, 'a') + "c";
    PatternRun run(text.size());
    std::vector<TextSpan> spans;
    const auto found = (*compiled)->find_all(text, run, spans);
    if (found) continue;  // PCRE2 saw at once that there is no b
    EXPECT_THAT(found.error().text(), HasSubstr("takes more steps than the limit")) << pattern;
  }
}

TEST(Pattern, KnownPatternsAreLinearHoweverLongTheRuns) {
  for (const std::string_view pattern : known_patterns()) {
    const auto compiled = Pattern::compile(pattern);
    ASSERT_TRUE(compiled.has_value()) << pattern;
    for (const char* unit : {" ", "\n", "a", "A", "7", "!", " \n", "\u4E2D", "\u0301", "' "}) {
      std::string text;
      while (text.size() < 250'000) text += unit;
      text += "x";
      PatternRun run(text.size());
      std::vector<TextSpan> spans;
      EXPECT_TRUE((*compiled)->find_all(text, run, spans).has_value());
    }
  }
}

TEST(Pattern, ScannersFindWhatThePatternsFind) {
  const testing::GeneratedLines lines;
  for (const std::string_view pattern : known_patterns()) {
    for (uint64_t i = 0; i < 1000; ++i) {
      const std::string line = lines.line(i);
      ASSERT_EQ(matches(pattern, line), matches(pattern, line, compile_with_pcre2))
          << pattern << " on line " << i;
    }
  }
  for (const char* text :
       {"", " ", "a ", " a  ", " \n \n", "\n\n a", "a \n\n b \r\n \t", "\u3000\n"}) {
    EXPECT_EQ(matches("\\s+$", text), matches("\\s+$", text, compile_with_pcre2)) << text;
  }
}

}  // namespace
}  // namespace ebb::models
