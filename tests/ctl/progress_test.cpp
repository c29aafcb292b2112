#include "ctl/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace ebb::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Progress, ShowsBarRateAndTimeLeft) {
  ProgressCounts counts{.total = 40, .skipped = 0, .succeeded = 8, .failed = 2, .in_flight = 4};
  EXPECT_EQ(progress_text(counts, 20, 8),
            "[##......] 10/40, 2 failed, 4 running, 0.50/s, 1 min 00 s left");
  counts = {.total = 40, .skipped = 30, .succeeded = 10, .failed = 0, .in_flight = 0};
  EXPECT_EQ(progress_text(counts, 20, 0), "40/40, 30 from before, 0.50/s, 20.0 s");
}

TEST(Progress, TimeLeftComesFromThisRunsRate) {
  const ProgressCounts counts{
      .total = 100, .skipped = 90, .succeeded = 5, .failed = 0, .in_flight = 1};
  EXPECT_THAT(progress_text(counts, 10, 0), HasSubstr("10.0 s left"));
}

TEST(Progress, SaysHowLongItRunsBeforeTheFirstAnswer) {
  const ProgressCounts counts{
      .total = 4, .skipped = 0, .succeeded = 0, .failed = 0, .in_flight = 4};
  EXPECT_EQ(progress_text(counts, 12, 4), "[....] 0/4, 4 running, 12.0 s so far");
}

TEST(Progress, LinesComeEveryFewSecondsAndTheBarAtOnce) {
  const TimePoint start = TimePoint() + Millis(1000);
  std::ostringstream lines, bar, json, none;
  Progress plain(lines, ProgressMode::kAuto, false, start);
  Progress drawn(bar, ProgressMode::kAuto, true, start);
  Progress machine(json, ProgressMode::kJson, true, start);
  Progress silent(none, ProgressMode::kNone, true, start);
  for (int ms = 0; ms <= 6000; ms += 100)
    for (Progress* progress : {&plain, &drawn, &machine, &silent})
      progress->update({.total = 2}, start + Millis(ms));
  const std::string plain_text = lines.str();
  EXPECT_EQ(std::count(plain_text.begin(), plain_text.end(), '\n'), 2);
  const std::string drawn_text = bar.str();
  EXPECT_EQ(std::count(drawn_text.begin(), drawn_text.end(), '\r'), 31);
  EXPECT_EQ(drawn_text.find('\n'), std::string::npos);
  EXPECT_THAT(json.str(), StartsWith(R"({"kind":"BatchProgress","total":2,)"));
  EXPECT_EQ(none.str(), "");
}

TEST(Progress, ModesHaveNames) {
  EXPECT_EQ(parse_progress_mode("plain"), ProgressMode::kPlain);
  EXPECT_EQ(parse_progress_mode("loud"), std::nullopt);
}

}  // namespace
}  // namespace ebb::ctl
