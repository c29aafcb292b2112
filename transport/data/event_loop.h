// The messenger's one thread: tasks, timers and file descriptors. Asio lives in event_loop.cpp
// only. Knows nothing of messages.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace ebb::data {

class EventLoop {
 public:
  using Task = std::function<void()>;

  explicit EventLoop(const std::string& name);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Any thread. False when the loop has stopped; the task then never runs.
  bool post(Task task);
  bool on_this_thread() const;
  /// Any thread but this loop's; idempotent. Runs what was posted before, then joins.
  void stop();

  /// One timer; belongs to the loop's thread.
  class Timer {
   public:
    explicit Timer(EventLoop& loop);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    /// Replaces what was started before. `task` runs at `at` or a little later, unless cancelled.
    void start(TimePoint at, Task task);
    /// The task does not run any more.
    void cancel();

   private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
  };

  /// One file descriptor, level triggered; belongs to the loop's thread. Owns a duplicate of `fd`.
  class Readable {
   public:
    Readable(EventLoop& loop, int fd);
    ~Readable();
    Readable(const Readable&) = delete;
    Readable& operator=(const Readable&) = delete;
    /// `task` runs once when the descriptor is readable; never after this object is gone.
    void wait(Task task);

   private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
  };

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::data
