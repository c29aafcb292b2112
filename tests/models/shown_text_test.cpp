#include "models/shown_text.h"

#include <gtest/gtest.h>

#include "models/utf8.h"

namespace ebb::models {
namespace {

TEST(ShownText, ShortTextsStayAsTheyAre) {
  EXPECT_EQ(shown_text(""), "");
  EXPECT_EQ(shown_text("gr\u00fcn"), "gr\u00fcn");
  EXPECT_EQ(quoted_text("a"), "'a'");
  EXPECT_EQ(shown_text(std::string(80, 'x')), std::string(80, 'x'));
}

TEST(ShownText, LongTextsAreCutBetweenCodePoints) {
  EXPECT_EQ(shown_text(std::string(81, 'x')), std::string(80, 'x') + "...");
  for (size_t before = 75; before <= 80; ++before) {
    const std::string text = shown_text(std::string(before, 'x') + "\U0001F600\U0001F600 and more");
    EXPECT_EQ(utf8_valid_prefix(text), text.size());
    EXPECT_EQ(text.find("\uFFFD"), text.npos) << before;
  }
}

TEST(ShownText, NothingIsLeftThatATerminalWouldObey) {
  EXPECT_EQ(shown_text(std::string_view("a\n\x1b[2J\0\x7f", 8)), "a??[2J??");
  EXPECT_EQ(shown_text("\xff"), "\uFFFD");
  EXPECT_EQ(utf8_valid_prefix(shown_text(std::string(200, '\x80'))), 77u * 3 + 3);
}

}  // namespace
}  // namespace ebb::models
