// A thread with a bounded queue of tasks and timers: the shell in which single-threaded objects
// live. An object "belongs" to a loop: its methods are called only from tasks of that loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace ebb {

class TaskLoop {
 public:
  /// `name` is the thread's name (15 characters at most). `queue_max` bounds waiting tasks.
  explicit TaskLoop(std::string name, size_t queue_max = 1 << 16);
  ~TaskLoop();  ///< stops: runs what is queued, drops timers, joins
  TaskLoop(const TaskLoop&) = delete;
  TaskLoop& operator=(const TaskLoop&) = delete;

  /// Any thread. False when the queue is full or the loop has stopped; the task then never runs.
  bool post(std::function<void()> task);
  /// Any thread. Runs once after `delay`; dropped silently when the loop stops first.
  void post_after(Millis delay, std::function<void()> task);
  bool on_this_thread() const;
  /// Any thread but this loop's; idempotent.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb
