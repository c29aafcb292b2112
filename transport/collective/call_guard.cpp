#include "transport/collective/call_guard.h"

#include <algorithm>
#include <utility>

namespace ebb::collective {
namespace {
constexpr Millis kFirstMax{24 * 3600 * 1000};  ///< no deadline at all would overflow the clock
}

CallGuard::CallGuard(Deadline first, Millis limit, std::function<void()> expire)
    : limit_(limit),
      expire_(std::move(expire)),
      due_(std::min(first.at, Clock::now() + kFirstMax).time_since_epoch().count()),
      thread_([this] { watch(); }) {}

CallGuard::~CallGuard() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void CallGuard::begin() { due_.store((Clock::now() + limit_).time_since_epoch().count()); }

void CallGuard::watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const int64_t due = due_.load();
    const TimePoint now = Clock::now();
    TimePoint look_again = now + limit_;
    if (due != kIdle) {
      const TimePoint late(Clock::duration{due});
      look_again = std::min(look_again, late);
      if (now >= late) {
        expired_.store(true);
        expire_();
        return;
      }
    }
    wake_.wait_until(lock, look_again, [this] { return stopping_; });
  }
}

}  // namespace ebb::collective
