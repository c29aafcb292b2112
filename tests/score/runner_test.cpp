#include "score/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using ::testing::HasSubstr;

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() : at_([](const Task& task) { return even_answer(task); }) {}
  ResultDir open() { return *ResultDir::open(at_.place.out, {{"command", "test"}}, ""); }
  static Cell good(const std::string& key) {
    return {key, 1, [] { return Result<std::string>(R"({"value":1})"); }};
  }
  static Cell bad(const std::string& key, Error error) {
    return {key, 1, [error] { return Result<std::string>(error); }};
  }
  TestPlace at_;
};

TEST_F(RunnerTest, AFailedCellIsRecordedAndTheRestIsDone) {
  ResultDir dir = open();
  const auto exit =
      run_cells(at_.place, dir, {good("a"), bad("b", invalid("budget: 0")), good("c")});
  EXPECT_EQ(*exit, cli::kPartial);
  EXPECT_EQ(dir.records().size(), 2u);
  EXPECT_EQ(dir.failures().at("b"), "budget: 0");
  EXPECT_THAT(at_.kept.err.str(), HasSubstr("b: budget: 0"));
  EXPECT_EQ(*run_cells(at_.place, dir, {good("b")}), cli::kOk);
  EXPECT_EQ(*run_cells(at_.place, dir, {bad("d", invalid("no"))}), cli::kFailed);
}

TEST_F(RunnerTest, WhatIsThereIsNotDoneAgain) {
  ResultDir dir = open();
  ASSERT_EQ(*run_cells(at_.place, dir, {good("a")}), cli::kOk);
  Workplace place = at_.place;
  place.progress = cli::ProgressMode::kPlain;
  EXPECT_EQ(*run_cells(place, dir, {bad("a", internal_error("done twice")), good("b")}), cli::kOk);
  EXPECT_THAT(at_.kept.err.str(), HasSubstr("1 of 2 cells are there"));
}

TEST_F(RunnerTest, EndsWhenNobodyIsThereAndGoesOnLater) {
  ResultDir dir = open();
  at_.backend->is_alive = false;
  EXPECT_EQ(
      *run_cells(at_.place, dir, {good("a"), bad("b", unavailable("cannot connect")), good("c")}),
      cli::kCannotConnect);
  EXPECT_EQ(dir.records().size(), 1u);
  EXPECT_TRUE(dir.failures().empty()) << "it is not the cell's fault";
}

TEST_F(RunnerTest, AStopLeavesTheCellAloneAndKeepsTheOthers) {
  ResultDir dir = open();
  std::promise<void> release;
  const auto released = release.get_future().share();
  const Cell hangs{"b", 1, [stop = at_.stop, released]() -> Result<std::string> {
                     stop->store(true);
                     released.wait();
                     return std::string("{}");
                   }};
  EXPECT_EQ(*run_cells(at_.place, dir, {good("a"), hangs, good("c")}), cli::kInterrupted);
  release.set_value();
  EXPECT_EQ(dir.records().size(), 1u);
  EXPECT_THAT(at_.kept.err.str(), HasSubstr("interrupted; the same command goes on in"));
}

}  // namespace
}  // namespace ebb::score
