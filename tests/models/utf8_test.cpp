#include "models/utf8.h"

#include <gtest/gtest.h>

namespace ebb::models {
namespace {

TEST(Utf8, EveryCodePointSurvivesTheRoundTrip) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    utf8_append(text, c);
    ASSERT_EQ(utf8_sequence_length(text), text.size()) << "U+" << std::hex << uint32_t{c};
    ASSERT_EQ(utf8_decode(text), c);
  }
}

TEST(Utf8, RefusesLongFormsSurrogatesAndWhatIsAboveTheLastCodePoint) {
  for (const char* bad :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF"}) {
    EXPECT_EQ(utf8_sequence_length(bad), 0u) << bad;
  }
}

TEST(Utf8, RefusesSequencesThatAreCutOff) {
  EXPECT_EQ(utf8_sequence_length("\xC3"), 0u);
  EXPECT_EQ(utf8_sequence_length("\xE2\x82"), 0u);
  EXPECT_EQ(utf8_sequence_length("\xF0\x9F\x99"), 0u);
  EXPECT_EQ(utf8_sequence_length("\xE2\x82x"), 0u);
  EXPECT_EQ(utf8_sequence_length(""), 0u);
}

TEST(Utf8, ValidPrefixEndsBeforeTheFirstInvalidByte) {
  EXPECT_EQ(utf8_valid_prefix("a\xC3\xA9\xFFz"), 3u);
  EXPECT_EQ(utf8_valid_prefix("abc"), 3u);
  EXPECT_EQ(utf8_valid_prefix("\x80"), 0u);
}

TEST(Utf8, ValidPrefixCrossesLongAsciiAndFindsTheByteBehindIt) {
  const std::string ascii(100, 'a');
  EXPECT_EQ(utf8_valid_prefix(ascii + "\xC3\xA9" + ascii), 202u);
  EXPECT_EQ(utf8_valid_prefix(ascii + "\xC3" + ascii), 100u);
}

TEST(Utf8, WhiteSpaceIsTheTwentyFiveCodePointsOfTheProperty) {
  int count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    utf8_append(text, c);
    const size_t length = utf8_white_space(text + "x");
    ASSERT_TRUE(length == 0 || length == text.size());
    count += length > 0;
  }
  EXPECT_EQ(count, 25);
  EXPECT_EQ(utf8_white_space("\u180E"), 0u);
  EXPECT_EQ(utf8_white_space("\u3000"), 3u);
}

TEST(Utf8, EachMaximalPartOfASequenceIsReplacedOnce) {
  EXPECT_EQ(utf8_replaced("a\xE2\x82z"), "a\uFFFDz");
  EXPECT_EQ(utf8_replaced("\xF0\x9F\x99"), "\uFFFD");
  EXPECT_EQ(utf8_replaced("\xFF\xC3\xE2\x28"), "\uFFFD\uFFFD\uFFFD(");
  EXPECT_EQ(utf8_replaced("\xE0\x80\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_replaced("\u00e9"), "\u00e9");
}

}  // namespace
}  // namespace ebb::models
