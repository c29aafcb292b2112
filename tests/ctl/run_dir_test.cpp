#include "ctl/run_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/temp_dir.h"

namespace ebb::ctl {
namespace {

using ::testing::HasSubstr;

class RunDirTest : public ::testing::Test {
 protected:
  RunDirTest() : dir_(temp_.path("run")) { EXPECT_TRUE(dir_.create()); }
  test::TempDir temp_;
  RunDir dir_;
};

TEST_F(RunDirTest, OneClusterHoldsTheLock) {
  EXPECT_FALSE(dir_.is_locked());
  const auto first = dir_.lock();
  ASSERT_TRUE(first);
  EXPECT_TRUE(dir_.is_locked());
  const auto second = dir_.lock();
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("ebbctl down --run-dir " + dir_.path()));
  close(*first);
  EXPECT_FALSE(dir_.is_locked());
}

TEST_F(RunDirTest, PlanAndStateReadBack) {
  ClusterPlan plan;
  plan.restart = false;
  plan.processes.push_back({"worker-g0-0", {"/bin/x", "a b", "\"c\""}, 1, Millis(1234)});
  ASSERT_TRUE(dir_.write_plan(plan));
  const auto read = dir_.read_plan();
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_FALSE(read->restart);
  EXPECT_EQ(read->processes[0].argv, plan.processes[0].argv);
  EXPECT_EQ(read->processes[0].stop_timeout, Millis(1234));

  ASSERT_TRUE(dir_.write_state({41, true, {{"store-s0", 42, 3, "signal 9 (Killed)"}}}));
  const auto state = dir_.read_state();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->supervisor_pid, 41);
  EXPECT_EQ(state->processes[0].deaths, 3u);
  dir_.remove_state();
  EXPECT_FALSE(dir_.read_state());
}

TEST_F(RunDirTest, ADamagedStateIsNoState) {
  temp_.file("run/state.json", "{\"supervisor_pid\": ");
  EXPECT_FALSE(dir_.read_state());
  temp_.file("run/plan.json", "[]");
  EXPECT_FALSE(dir_.read_plan());
}

TEST_F(RunDirTest, TheTailOfALogIsItsLastLines) {
  temp_.file("run/logs/w.log", "one\ntwo\nthree\nfour\n");
  EXPECT_EQ(dir_.log_tail("w", 2), "three\nfour");
  EXPECT_EQ(dir_.log_tail("w", 99), "one\ntwo\nthree\nfour");
  EXPECT_EQ(dir_.log_tail("absent", 5), "");
  temp_.file("run/logs/big.log", std::string(100000, 'x') + "\nend\n");
  EXPECT_EQ(dir_.log_tail("big", 1), "end");
  EXPECT_LE(dir_.log_tail("big", 5).size(), 16u * 1024);
}

}  // namespace
}  // namespace ebb::ctl
