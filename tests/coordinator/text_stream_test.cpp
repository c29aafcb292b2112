#include "coordinator/text_stream.h"

#include <gtest/gtest.h>

namespace ebb::coordinator {
namespace {

const std::string kReplaced = "\xEF\xBF\xBD";

/// Everything a stream gives for these pushes, ended.
std::string all(TextStream& stream, const std::vector<std::string>& pushes) {
  std::string text;
  for (const std::string& push : pushes) text += stream.push(push);
  return text += stream.finish();
}
std::string all(const std::vector<std::string>& stops, const std::vector<std::string>& pushes) {
  TextStream stream(stops);
  return all(stream, pushes);
}

TEST(TextStream, GivesPlainTextAtOnce) {
  TextStream stream({});
  EXPECT_EQ(stream.push("abc"), "abc");
  EXPECT_EQ(stream.released(), 3u);
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, HoldsAnIncompleteCodePointBack) {
  TextStream stream({});
  EXPECT_EQ(stream.push("a\xE2"), "a");
  EXPECT_EQ(stream.push("\x82"), "");
  EXPECT_EQ(stream.push("\xAC!"), "\xE2\x82\xAC!");
}

TEST(TextStream, AStopStringMayBeKept) {
  TextStream stream({"END", "stop"}, TextStream::StopText::kKept);
  EXPECT_EQ(stream.push("one EN"), "one ");
  EXPECT_EQ(stream.push("D two"), "END");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.released(), 7u);
}

TEST(TextStream, StopStringsInPassedTextDoNotCount) {
  TextStream stream({"END"});
  EXPECT_EQ(stream.pass("END a"), "END a");
  EXPECT_EQ(stream.push("b END c"), "b ");
  EXPECT_TRUE(stream.stopped());
}

TEST(TextStream, EmojiSurviveEverySplit) {
  const std::string emoji = "x\xF0\x9F\x98\x80y";
  for (size_t a = 0; a <= emoji.size(); ++a) {
    for (size_t b = a; b <= emoji.size(); ++b) {
      EXPECT_EQ(all({}, {emoji.substr(0, a), emoji.substr(a, b - a), emoji.substr(b)}), emoji);
    }
  }
}

TEST(TextStream, AnIncompleteSequenceAtTheEndIsReplaced) {
  EXPECT_EQ(all({}, {"a\xE2\x82"}), "a" + kReplaced);
  EXPECT_EQ(all({}, {"\xF0"}), kReplaced);
}

TEST(TextStream, InvalidBytesAreReplacedOnePerMaximalPart) {
  EXPECT_EQ(all({}, {"a\x80z"}), "a" + kReplaced + "z");
  EXPECT_EQ(all({}, {"\xE2\x82z"}), kReplaced + "z");
  EXPECT_EQ(all({}, {"\xE2\x28\xA1"}), kReplaced + "(" + kReplaced);
  EXPECT_EQ(all({}, {"\xC0\xAF"}), kReplaced + kReplaced);                  // overlong
  EXPECT_EQ(all({}, {"\xED\xA0\x80"}), kReplaced + kReplaced + kReplaced);  // a surrogate
  EXPECT_EQ(all({}, {"\xF4\x90\x80\x80"}), kReplaced + kReplaced + kReplaced + kReplaced);
}

TEST(TextStream, AStopStringIsNeverGiven) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.push("before STOP after"), "before ");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push("more"), "");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.released(), 7u);
}

TEST(TextStream, AStopStringMaySpanPushes) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.push("xS"), "x");
  EXPECT_EQ(stream.push("TO"), "");
  EXPECT_EQ(stream.push("Pz"), "");
  EXPECT_TRUE(stream.stopped());
}

TEST(TextStream, ABeginningThatIsNoStopIsGivenAfterAll) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.push("ST"), "");
  EXPECT_EQ(stream.push("AR"), "STAR");
  EXPECT_EQ(stream.push("STO"), "");
  EXPECT_EQ(stream.finish(), "STO");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, FindsAStopBehindAFalseStart) {
  EXPECT_EQ(all({"aab"}, {"a", "a", "a", "b", "c"}), "a");
}

TEST(TextStream, TheEarliestOfSeveralStopsWins) {
  EXPECT_EQ(all({"world", "lo"}, {"hello world"}), "hel");
}

TEST(TextStream, AStopStringOfManyBytesPerCodePointWorksByteByByte) {
  EXPECT_EQ(all({"\xE2\x82\xAC"}, {"5", "\xE2", "\x82", "\xAC", "x"}), "5");
}

TEST(TextStream, EveryCutOfATextGivesTheSame) {
  const std::string text = "one \xE2\x82\xAC two ###END three";
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      TextStream stream({"###END", "##X"});
      EXPECT_EQ(all(stream, {text.substr(0, a), text.substr(a, b - a), text.substr(b)}),
                "one \xE2\x82\xAC two ");
      EXPECT_TRUE(stream.stopped());
    }
  }
}

TEST(TextStream, LabelsOfPartialTokensAreBytes) {
  EXPECT_EQ(token_label("abc"), "abc");
  EXPECT_EQ(token_label("\xE2\x82"), "bytes:\\xe2\\x82");
}

TEST(TextStream, CountsCodePointsByTheirFirstByte) {
  EXPECT_EQ(code_points("a\xE2\x82\xAC"), 2u);
  EXPECT_EQ(code_points("\x82\xAC"), 0u);
}

}  // namespace
}  // namespace ebb::coordinator
