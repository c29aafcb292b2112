#include "models/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "models/tokenizer/known_patterns.h"

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Step = PreTokenizerStep;

/// Splits one text; the pieces live as long as it and this.
class Splitter {
 public:
  explicit Splitter(const std::vector<Step>& steps) {
    auto made = PreTokenizer::make(steps);
    EXPECT_TRUE(made.has_value()) << made.error().text();
    if (made) pre_ = std::make_unique<PreTokenizer>(*std::move(made));
  }
  std::vector<std::string_view> split(std::string_view text) {
    run_ = std::make_unique<PreTokenizer::Run>(text.size());
    const auto done = pre_->split(text, PreTokenizer::Place::kTextBegin, *run_);
    EXPECT_TRUE(done.has_value()) << done.error().text();
    return run_->pieces;
  }

 private:
  std::unique_ptr<PreTokenizer> pre_;
  std::unique_ptr<PreTokenizer::Run> run_;
};

std::unique_ptr<Splitter> make(std::string_view name) {
  auto known = find_pre_tokenizer(name);
  EXPECT_TRUE(known.has_value());
  std::vector<Step> steps;
  for (const std::string_view pattern : known->patterns) {
    steps.push_back({.pattern = std::string(pattern), .where = "here"});
  }
  return std::make_unique<Splitter>(steps);
}

std::vector<std::string> with_behavior(SplitBehavior behavior, std::string_view text,
                                       bool invert = false) {
  Splitter splitter({{.pattern = "-", .where = "here", .behavior = behavior, .invert = invert}});
  const auto pieces = splitter.split(text);
  return {pieces.begin(), pieces.end()};
}

TEST(PreTokenizer, Gpt2CutsWordsWithTheSpaceBeforeThem) {
  EXPECT_THAT(make("gpt-2")->split("Hello  big world's 12!"),
              ElementsAre("Hello", " ", " big", " world", "'s", " 12", "!"));
}

TEST(PreTokenizer, SmollmTakesEachDigitAloneAndNothingLooksAcrossIt) {
  EXPECT_THAT(make("smollm")->split("a  12 x"), ElementsAre("a", "  ", "1", "2", " x"));
}

TEST(PreTokenizer, LlamaTakesDigitsByThreeAndContractionsInAnyCase) {
  EXPECT_THAT(make("llama-bpe")->split("IT'S 12345\n\n x"),
              ElementsAre("IT", "'S", " ", "123", "45", "\n\n", " x"));
}

TEST(PreTokenizer, QwenTakesSingleDigitsWithoutTheSpace) {
  EXPECT_THAT(make("qwen2")->split("a 12"), ElementsAre("a", " ", "1", "2"));
}

TEST(PreTokenizer, TheMongolianVowelSeparatorIsNoSpace) {
  EXPECT_THAT(make("gpt-2")->split("\u180E x"), ElementsAre("\u180E", " x"));
}

TEST(PreTokenizer, TekkenCutsWordsWhereCapitalsBegin) {
  EXPECT_THAT(make("tekken")->split("camelCase HTTPServer 12/"),
              ElementsAre("camel", "Case", " HTTPServer", " ", "1", "2", "/"));
}

TEST(PreTokenizer, DeepSeekCutsLinesThenLettersThenSpacesAtTheEnd) {
  EXPECT_THAT(make("deepseek-llm")->split("ab  cd  \n12"),
              ElementsAre("ab", " ", " cd", "  ", "\n", "12"));
}

TEST(PreTokenizer, MatchesJoinTheirNeighboursAsTheBehaviorSays) {
  EXPECT_THAT(with_behavior(SplitBehavior::kIsolated, "a--b-"),
              ElementsAre("a", "-", "-", "b", "-"));
  EXPECT_THAT(with_behavior(SplitBehavior::kRemoved, "a--b-"), ElementsAre("a", "b"));
  EXPECT_THAT(with_behavior(SplitBehavior::kMergedWithPrevious, "a--b-"),
              ElementsAre("a-", "-", "b-"));
  EXPECT_THAT(with_behavior(SplitBehavior::kMergedWithNext, "-a--b"), ElementsAre("-a", "-", "-b"));
  EXPECT_THAT(with_behavior(SplitBehavior::kContiguous, "a--b-"), ElementsAre("a", "--", "b", "-"));
  EXPECT_THAT(with_behavior(SplitBehavior::kRemoved, "a--b-", /*invert=*/true),
              ElementsAre("-", "-", "-"));
}

TEST(PreTokenizer, MetaspacePutsAMarkForSpacesAndOneBeforeTheTextsBegin) {
  Step step{.kind = Step::Kind::kMetaspace, .content = "_", .prepend = Step::Prepend::kFirst};
  EXPECT_THAT(Splitter({step}).split("a b"), ElementsAre("_a_b"));
  EXPECT_THAT(Splitter({step}).split(" a"), ElementsAre("_a"));
  step.prepend = Step::Prepend::kNever;
  EXPECT_THAT(Splitter({step}).split("a b"), ElementsAre("a_b"));
}

TEST(PreTokenizer, SaysWhichPatternOfTheFileIsNone) {
  const auto made = PreTokenizer::make({{.pattern = "(a", .where = "pre_tokenizer.pattern"}});
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().text(), HasSubstr("pre_tokenizer.pattern has a group"));
}

TEST(PreTokenizer, NamesTheKnownOnesWhenItDoesNotKnowOne) {
  const auto spec = find_pre_tokenizer("mystery");
  ASSERT_FALSE(spec.has_value());
  EXPECT_EQ(spec.error().code, Code::kUnsupported);
  EXPECT_THAT(spec.error().message, HasSubstr("'mystery'"));
  EXPECT_THAT(spec.error().message, HasSubstr("gpt-2, smollm, llama-bpe"));
}

TEST(PreTokenizer, PiecesOfLongRunsTogetherAreTheText) {
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-llm",
                           "deepseek-coder", "deepseek-v3", "tekken"}) {
    const auto pre = make(name);
    for (const char* unit : {" ", "\n", "a", "7", "\u00e9", "!", " \n", "a ", "Aa"}) {
      std::string text;
      while (text.size() < 200'000) text += unit;
      text += "x";
      size_t bytes = 0;
      for (std::string_view piece : pre->split(text)) {
        ASSERT_EQ(piece.data(), text.data() + bytes);
        ASSERT_FALSE(piece.empty());
        bytes += piece.size();
      }
      EXPECT_EQ(bytes, text.size()) << name;
    }
  }
}

}  // namespace
}  // namespace ebb::models
