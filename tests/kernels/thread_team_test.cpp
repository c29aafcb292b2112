#include "kernels/cpu/thread_team.h"

#include <gtest/gtest.h>

#include <numeric>

namespace ebb::kernels::cpu {
namespace {

TEST(ThreadTeam, RunsEveryTaskOnceWhateverTheNumbers) {
  for (const uint32_t team_size : {1u, 2u, 5u}) {
    ThreadTeam team(team_size);
    for (const uint32_t threads : {1u, 2u, 5u, 9u}) {
      for (const uint64_t tasks : {0u, 1u, 2u, 3u, 100u}) {
        std::vector<int> runs(tasks, 0);
        team.run(threads, tasks, [&](uint64_t task) { ++runs[task]; });
        EXPECT_EQ(runs, std::vector<int>(tasks, 1)) << team_size << " " << threads;
      }
    }
  }
}

/// Plain writes of helpers must be visible to the caller, and a late helper must not reach into the
/// next loop.
TEST(ThreadTeam, ManyShortLoopsInARowStayApart) {
  ThreadTeam team(4);
  std::vector<uint64_t> values(64, 0);
  for (uint64_t round = 1; round <= 20'000; ++round) {
    team.run(4, round % 7 + 2, [&](uint64_t task) { values[task] += round; });
  }
  uint64_t expected_first = 0, expected_last = 0;
  for (uint64_t round = 1; round <= 20'000; ++round) {
    expected_first += round;
    if (round % 7 + 2 > 7) expected_last += round;
  }
  EXPECT_EQ(values[0], expected_first);
  EXPECT_EQ(values[7], expected_last);
}

TEST(ThreadTeam, HelpersTakeWorkWhenTheCallerIsBusy) {
  ThreadTeam team(2);
  std::atomic<bool> second_ran{false};
  const auto caller = std::this_thread::get_id();
  std::thread::id other = caller;
  team.run(2, 2, [&](uint64_t task) {
    if (task == 1) {
      other = std::this_thread::get_id();
      second_ran.store(true);
      return;
    }
    while (!second_ran.load())
      std::this_thread::yield();  // ends only if somebody else takes task 1
  });
  EXPECT_TRUE(second_ran.load());
}

}  // namespace
}  // namespace ebb::kernels::cpu
