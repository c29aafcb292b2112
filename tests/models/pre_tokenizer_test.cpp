#include "models/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<PreTokenizer> make(std::string_view name) {
  auto spec = find_pre_tokenizer(name);
  EXPECT_TRUE(spec.has_value());
  auto made = PreTokenizer::compile(spec->patterns);
  EXPECT_TRUE(made.has_value());
  return *std::move(made);
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

TEST(PreTokenizer, NamesTheKnownOnesWhenItDoesNotKnowOne) {
  const auto spec = find_pre_tokenizer("tekken");
  ASSERT_FALSE(spec.has_value());
  EXPECT_EQ(spec.error().code, Code::kUnsupported);
  EXPECT_THAT(spec.error().message, HasSubstr("'tekken'"));
  EXPECT_THAT(spec.error().message, HasSubstr("gpt-2, smollm, llama-bpe, qwen2"));
}

TEST(PreTokenizer, PiecesOfLongRunsTogetherAreTheText) {
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    const auto pre = make(name);
    for (const char* unit : {" ", "\n", "a", "7", "\u00e9", "!", " \n", "a "}) {
      std::string text;
      while (text.size() < 1'000'000) text += unit;
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
