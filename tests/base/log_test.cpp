#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

/// What `write` put on stderr.
template <class F>
std::string logged(F write) {
  testing::internal::CaptureStderr();
  write();
  return testing::internal::GetCapturedStderr();
}

class Log : public ::testing::Test {
 protected:
  ~Log() override { (void)log_start("ebb", "warn", LogFormat::kText); }
};

TEST_F(Log, TextLinesNameEverything) {
  ASSERT_TRUE(log_start("worker-0", "info", LogFormat::kText));
  const std::string line = logged([] {
    log_info("engine", "group formed", {{"epoch", 3}, {"why", "rank 1 joined"}});
  });
  EXPECT_THAT(line, MatchesRegex("[0-9]{4}-.*T.*Z info worker-0 engine: group formed epoch=3 "
                                 "why=\"rank 1 joined\"\n"));
}

TEST_F(Log, JsonLinesAreOneObjectEach) {
  ASSERT_TRUE(log_start("kvstore-s0", "info", LogFormat::kJson));
  const std::string line = logged([] {
    log_error("ssd", "write refused", {{"path", "a\\b \"c\"\nd"}});
  });
  EXPECT_THAT(line, HasSubstr(R"("level":"error","process":"kvstore-s0","module":"ssd")"));
  EXPECT_THAT(line, HasSubstr(R"("path":"a\\b \"c\"\u000ad"})"));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST_F(Log, AValueCannotStartALineOfItsOwn) {
  ASSERT_TRUE(log_start("c", "info", LogFormat::kText));
  const std::string line = logged([] { log_info("http", "refused", {{"path", "/\nfaked line"}}); });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST_F(Log, LevelsBelowTheChosenOneAreSilent) {
  ASSERT_TRUE(log_start("c", "warn", LogFormat::kText));
  EXPECT_EQ(logged([] { log_info("m", "not seen"); }), "");
  EXPECT_NE(logged([] { log_warn("m", "seen"); }), "");
}

TEST_F(Log, PercentAndBracesInFieldsAreText) {
  ASSERT_TRUE(log_start("c", "info", LogFormat::kText));
  EXPECT_THAT(logged([] { log_info("m", "seen", {{"x", "{}%v%n"}}); }), HasSubstr("x={}%v%n\n"));
}

TEST_F(Log, AnUnknownLevelIsNamed) {
  const auto started = log_start("c", "loud", LogFormat::kText);
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("\"loud\""));
}

}  // namespace
}  // namespace ebb
