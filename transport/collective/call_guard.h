// A watchdog for calls that block inside a library which cannot be given a deadline for the whole
// call. Knows nothing of sockets or of Gloo: it calls back once when a call is late.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace ebb::collective {

/// Begin and end cost one atomic store each, so that guarding a call of 60 us is free: the thread
/// is never woken by them. It sleeps until the running call's deadline, but never longer than one
/// `limit`: a call that begins while it sleeps is due one `limit` later at the earliest, so none is
/// late before it looks again.
class CallGuard {
 public:
  /// Begins inside a first call, which is due at `first`. Every later one is due `limit` after it
  /// began. `expire` runs at most once, on the guard's thread.
  CallGuard(Deadline first, Millis limit, std::function<void()> expire);
  ~CallGuard();
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;

  void begin();
  void end() { due_.store(kIdle); }
  /// True when some call was late; `expire` has run or is running.
  bool expired() const { return expired_.load(); }

 private:
  static constexpr int64_t kIdle = 0;
  void watch();

  const Millis limit_;
  const std::function<void()> expire_;
  std::atomic<int64_t> due_;  ///< when the running call must be over, in ticks of Clock
  std::atomic<bool> expired_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ebb::collective
