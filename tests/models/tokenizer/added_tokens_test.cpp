#include "models/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

AddedToken token(std::string content, TokenId id) {
  AddedToken made;
  made.content = std::move(content);
  made.id = id;
  return made;
}

std::vector<std::string> cut(std::vector<AddedToken> tokens, std::string_view text,
                             SpecialTokens special = SpecialTokens::kParse) {
  auto cutter = AddedTokenCutter::make(std::move(tokens));
  EXPECT_TRUE(cutter.has_value()) << cutter.error().text();
  std::vector<AddedTokenCutter::Part> parts;
  cutter->cut(text, special, parts);
  std::vector<std::string> out;
  for (const auto& part : parts) {
    const std::string inside(text.substr(part.begin, part.end - part.begin));
    out.push_back(part.token < 0 ? inside : std::to_string(part.token) + ":" + inside);
  }
  return out;
}

TEST(AddedTokens, TheLeftmostAndThenTheLongestWins) {
  const std::vector<AddedToken> tokens = {token("<a", 1), token("<ab>", 2), token("b>", 3)};
  EXPECT_THAT(cut(tokens, "x<ab>b><a<a"), ElementsAre("x", "2:<ab>", "3:b>", "1:<a", "1:<a"));
  EXPECT_THAT(cut(tokens, "<"), ElementsAre("<"));
  EXPECT_THAT(cut({}, "text"), ElementsAre("text"));
  EXPECT_THAT(cut(tokens, ""), ElementsAre());
}

TEST(AddedTokens, TakeWhiteSpaceAlongWhereTheySaySo) {
  AddedToken left = token("L", 1), right = token("R", 2);
  left.lstrip = true;
  right.rstrip = true;
  EXPECT_THAT(cut({left, right}, "a \u3000L  R \n b"),
              ElementsAre("a", "1: \u3000L", "  ", "2:R \n ", "b"));
  EXPECT_THAT(cut({left, right}, "R  L"), ElementsAre("2:R  ", "1:L"));
}

TEST(AddedTokens, ASingleWordIsNotFoundInsideAWord) {
  AddedToken word = token("cat", 1);
  word.single_word = true;
  EXPECT_THAT(cut({word}, "cat concat cats \u00e9cat.cat"),
              ElementsAre("1:cat", " concat cats \u00e9cat.", "1:cat"));
}

TEST(AddedTokens, SpecialOnesAreTextOnWishAndStillHideWhatIsInsideThem) {
  AddedToken special = token("<ab>", 1);
  special.special = true;
  EXPECT_THAT(cut({special, token("b>", 2)}, "<ab>b>", SpecialTokens::kAsText),
              ElementsAre("<ab>", "2:b>"));
}

TEST(AddedTokens, BytesThatAreNotUtf8AreNoWordsAndNoSpaces) {
  AddedToken word = token("cat", 1);
  word.single_word = word.lstrip = word.rstrip = true;
  EXPECT_THAT(cut({word}, "\xFF\x80 cat \xE3\x80"), ElementsAre("\xFF\x80", "1: cat ", "\xE3\x80"));
}

TEST(AddedTokens, RefusesDoublesAndTextsWithoutEnd) {
  EXPECT_THAT(AddedTokenCutter::make({token("a", 1), token("a", 2)}).error().text(),
              HasSubstr("are both 'a'"));
  EXPECT_THAT(AddedTokenCutter::make({token("", 7)}).error().text(),
              HasSubstr("added token 7 is empty"));
  EXPECT_THAT(AddedTokenCutter::make({token(std::string(600, 'x'), 7)}).error().text(),
              HasSubstr("added token 7 has 600 bytes; the limit is 512"));
}

}  // namespace
}  // namespace ebb::models
