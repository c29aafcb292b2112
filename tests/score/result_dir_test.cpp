#include "score/result_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace ebb::score {
namespace {

using ::testing::HasSubstr;

class ResultDirTest : public ::testing::Test {
 protected:
  Result<ResultDir> open(const Settings& settings) {
    return ResultDir::open(dir_.path("run"), settings, "ebb-score perplexity");
  }
  test::TempDir dir_;
  const Settings settings_{{"command", "perplexity"}, {"--context", "1024"}};
};

TEST_F(ResultDirTest, ASecondRunFindsTheRecordsOfTheFirst) {
  {
    auto first = open(settings_);
    ASSERT_TRUE(first) << first.error().text();
    ASSERT_TRUE(first->add("a", R"({"value":1})"));
    ASSERT_TRUE(first->add_failure("b", "no \"luck\""));
  }
  auto second = open(settings_);
  ASSERT_TRUE(second) << second.error().text();
  EXPECT_EQ(second->records().at("a"), R"({"key":"a","ok":true,"value":1})");
  EXPECT_EQ(second->failures().at("b"), "no \"luck\"");
  ASSERT_TRUE(second->add("b", R"({"value":2})"));
  const auto report = ResultDir::open_for_report(dir_.path("run"));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->records().size(), 2u);
  EXPECT_TRUE(report->failures().empty()) << "it was done at last";
  EXPECT_EQ(report->command_line(), "ebb-score perplexity");
}

TEST_F(ResultDirTest, ATornLineIsDoneAgain) {
  {
    auto first = open(settings_);
    ASSERT_TRUE(first->add("a", R"({"value":1})"));
  }
  std::ofstream(dir_.path("run/results.jsonl"), std::ios::app) << R"({"key":"b","ok":tr)";
  auto second = open(settings_);
  ASSERT_TRUE(second) << second.error().text();
  EXPECT_EQ(second->records().size(), 1u);
  ASSERT_TRUE(second->add("b", R"({"value":2})"));
  EXPECT_EQ(ResultDir::open_for_report(dir_.path("run"))->records().size(), 2u);
}

TEST_F(ResultDirTest, OtherSettingsAreRefusedByName) {
  ASSERT_TRUE(open(settings_));
  const auto other = open({{"command", "perplexity"}, {"--context", "2048"}});
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("--context is \"1024\" there and \"2048\" now"));
  const auto more = open({{"command", "perplexity"}, {"--context", "1024"}, {"--decode", "9"}});
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().message, HasSubstr("--decode is not set there and \"9\" now"));
}

TEST_F(ResultDirTest, OnlyFoldersOfRunsAreTaken) {
  dir_.file("letter.txt", "dear");
  const auto taken = ResultDir::open(dir_.path(), settings_, "");
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message, HasSubstr("files that are no run's"));
  EXPECT_EQ(ResultDir::open_for_report(dir_.path()).error().code, Code::kNotFound);
}

TEST_F(ResultDirTest, StrangeRecordsAreNamedByLine) {
  {
    auto first = open(settings_);
    ASSERT_TRUE(first->add("a", "{}"));
  }
  std::ofstream(dir_.path("run/results.jsonl"), std::ios::app) << "[1]\n";
  const auto second = open(settings_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kCorrupt);
  EXPECT_THAT(second.error().message, HasSubstr("line 2"));
}

}  // namespace
}  // namespace ebb::score
