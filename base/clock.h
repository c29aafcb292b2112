// Deadlines. Deciders never read a clock: they are given one of these values.
#pragma once

#include <chrono>

namespace ebb {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Millis = std::chrono::milliseconds;

/// A moment after which a wait is given up. Passed in, never read from a global.
struct Deadline {
  TimePoint at = TimePoint::max();
  static Deadline after(Millis duration) { return {Clock::now() + duration}; }
  bool passed() const { return Clock::now() >= at; }
  /// Zero when passed.
  Millis left() const {
    const auto now = Clock::now();
    return now >= at ? Millis(0) : std::chrono::duration_cast<Millis>(at - now) + Millis(1);
  }
};

}  // namespace ebb
