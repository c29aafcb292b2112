#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace ebb::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Progress, ShowsBarAndTimeLeft) {
  ProgressCounts counts{
      .total = 40, .succeeded = 8, .failed = 2, .in_flight = 4, .work_done = 100, .work_left = 300};
  EXPECT_EQ(progress_text(counts, 20, 8),
            "[##......] 10/40, 2 failed, 4 running, about 1 min 00 s left");
  counts = {.total = 40, .skipped = 30, .succeeded = 10, .work_done = 100};
  EXPECT_EQ(progress_text(counts, 20, 0), "40/40, 30 from before, 20.0 s");
}

TEST(Progress, SaysHowLongItRunsBeforeTheFirstAnswer) {
  const ProgressCounts counts{.total = 4, .failed = 1, .in_flight = 3, .work_left = 9000};
  EXPECT_EQ(progress_text(counts, 12, 4), "[#...] 1/4, 1 failed, 3 running, 12.0 s so far");
}

TEST(Progress, LinesComeWhenSomethingChangedAndTheBarAtOnce) {
  const TimePoint start = TimePoint() + Millis(1000);
  std::ostringstream lines, bar, json, none;
  Progress plain(lines, ProgressMode::kAuto, false, start);
  Progress drawn(bar, ProgressMode::kAuto, true, start);
  Progress machine(json, ProgressMode::kJson, true, start);
  Progress silent(none, ProgressMode::kNone, true, start);
  for (int ms = 0; ms <= 6000; ms += 100)
    for (Progress* progress : {&plain, &drawn, &machine, &silent})
      progress->update({.total = 2, .succeeded = ms < 1000 ? 0u : 1u}, start + Millis(ms));
  EXPECT_EQ(lines.str(), "batch: 0/2, 0.0 s so far\nbatch: 1/2, 5.0 s so far\n");
  for (int ms = 6100; ms <= 40000; ms += 100)
    plain.update({.total = 2, .succeeded = 1}, start + Millis(ms));
  const std::string plain_text = lines.str();
  EXPECT_EQ(std::count(plain_text.begin(), plain_text.end(), '\n'), 3)
      << "a sign of life after 30 s";
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
}  // namespace ebb::cli
