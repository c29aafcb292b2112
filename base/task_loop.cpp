// One thread, one queue, one heap of timers. Tasks run in the order in which they were posted.
#include "base/task_loop.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace ebb {
namespace {

/// More waiting timers than this is a leak of ours, not load.
constexpr size_t kTimersMax = size_t{1} << 20;

struct Timer {
  TimePoint at;
  uint64_t order;  ///< equal times fire as posted
  std::function<void()> task;
};
/// For std::push_heap: the soonest on top.
bool later(const Timer& a, const Timer& b) {
  return a.at != b.at ? a.at > b.at : a.order > b.order;
}

}  // namespace

struct TaskLoop::Impl {
  std::string name;
  size_t queue_max;
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> queue;
  std::vector<Timer> timers;
  uint64_t timer_order = 0;
  bool stopping = false;
  std::mutex join_mutex;
  std::thread thread;

  void run() {
    pthread_setname_np(pthread_self(), name.c_str());
    while (std::function<void()> task = next()) {
      task();
    }
    // Timers that never fired are destroyed here: what they hold belongs to this thread.
    std::vector<Timer> dropped;
    const std::lock_guard lock(mutex);
    dropped.swap(timers);
  }

  /// Waits. Empty when the loop is stopped and its queue has run dry.
  std::function<void()> next() {
    std::unique_lock lock(mutex);
    for (;;) {
      // A due timer goes first: a queue that is always full must not starve deadlines.
      if (!stopping && !timers.empty() && timers.front().at <= Clock::now()) return take_timer();
      if (!queue.empty()) {
        auto task = std::move(queue.front());
        queue.pop_front();
        return task;
      }
      if (stopping) return {};
      if (timers.empty())
        wake.wait(lock);
      else
        wake.wait_until(lock, TimePoint(timers.front().at));
    }
  }

  std::function<void()> take_timer() {
    std::pop_heap(timers.begin(), timers.end(), later);
    auto task = std::move(timers.back().task);
    timers.pop_back();
    return task;
  }
};

TaskLoop::TaskLoop(std::string name, size_t queue_max) : impl_(std::make_unique<Impl>()) {
  impl_->name = name.substr(0, 15);
  impl_->queue_max = queue_max;
  impl_->thread = std::thread([this] { impl_->run(); });
}

TaskLoop::~TaskLoop() { stop(); }

bool TaskLoop::post(std::function<void()> task) {
  EBB_CHECK(task != nullptr);
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->stopping || impl_->queue.size() >= impl_->queue_max) return false;
    impl_->queue.push_back(std::move(task));
  }
  impl_->wake.notify_one();
  return true;
}

void TaskLoop::post_after(Millis delay, std::function<void()> task) {
  EBB_CHECK(task != nullptr);
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->stopping) return;
    EBB_CHECK(impl_->timers.size() < kTimersMax);
    impl_->timers.push_back({Clock::now() + delay, impl_->timer_order++, std::move(task)});
    std::push_heap(impl_->timers.begin(), impl_->timers.end(), later);
  }
  impl_->wake.notify_one();
}

bool TaskLoop::on_this_thread() const {
  return impl_->thread.get_id() == std::this_thread::get_id();
}

void TaskLoop::stop() {
  EBB_CHECK(!on_this_thread());
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_one();
  const std::lock_guard lock(impl_->join_mutex);
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace ebb
