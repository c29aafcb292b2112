#include "base/task_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace ebb {
namespace {

TEST(TaskLoop, RunsTasksInOrderOnItsOwnThread) {
  std::vector<int> seen;
  std::promise<bool> done;
  TaskLoop loop("order");
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(loop.post([&, i] { seen.push_back(i); }));
  ASSERT_TRUE(loop.post([&] { done.set_value(loop.on_this_thread()); }));
  EXPECT_TRUE(done.get_future().get());
  EXPECT_FALSE(loop.on_this_thread());
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
}

TEST(TaskLoop, TimersFireByTheirTimeNotByTheirOrder) {
  std::vector<int> seen;
  std::promise<void> done;
  TaskLoop loop("timers");
  // All three are set within one task, so the last one cannot be late.
  loop.post([&] {
    loop.post_after(Millis(40), [&] {
      seen.push_back(3);
      done.set_value();
    });
    loop.post_after(Millis(20), [&] { seen.push_back(2); });
    loop.post_after(Millis(0), [&] { seen.push_back(1); });
  });
  done.get_future().get();
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
}

TEST(TaskLoop, RefusesWhatDoesNotFitTheQueue) {
  std::promise<void> entered, leave;
  TaskLoop loop("full", 2);
  loop.post([&] {
    entered.set_value();
    leave.get_future().get();
  });
  entered.get_future().get();
  EXPECT_TRUE(loop.post([] {}));
  EXPECT_TRUE(loop.post([] {}));
  EXPECT_FALSE(loop.post([] {}));
  leave.set_value();
}

TEST(TaskLoop, StopRunsWhatIsQueuedAndDropsTimers) {
  std::atomic<int> ran{0};
  std::atomic<bool> timer_ran{false};
  TaskLoop loop("stop");
  loop.post_after(Millis(3600000), [&] { timer_ran = true; });
  for (int i = 0; i < 50; ++i) loop.post([&] { ++ran; });
  loop.stop();
  EXPECT_EQ(ran, 50);
  EXPECT_FALSE(timer_ran);
  EXPECT_FALSE(loop.post([] {}));
  loop.stop();
}

TEST(TaskLoop, DroppedTimersAreDestroyedOnTheLoopsThread) {
  std::thread::id destroyed_on;
  std::thread::id loop_id;
  {
    TaskLoop loop("drop");
    loop.post([&] { loop_id = std::this_thread::get_id(); });
    auto held = std::shared_ptr<int>(new int(1), [&](int* p) {
      destroyed_on = std::this_thread::get_id();
      delete p;
    });
    loop.post_after(Millis(3600000), [held = std::move(held)] { (void)held; });
  }
  EXPECT_EQ(destroyed_on, loop_id);
}

}  // namespace
}  // namespace ebb
