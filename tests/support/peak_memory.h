// How far an act drove up the memory of this process: for tests of what a refused file may cost.
#pragma once

#include <fstream>
#include <string>

#include "base/check.h"

namespace ebb::testing {

/// A line of /proc/self/status in KiB: "VmRSS", "VmHWM".
inline long status_kib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return std::stol(line.substr(name.size() + 1));
  EBB_CHECK(false);
  return 0;
}

/// The highest resident memory while `act` ran, over that before it, in KiB. Mapped file pages that
/// were touched count too.
template <class Act>
long peak_growth_kib(const Act& act) {
  // 5 sets the high-water mark to what is resident now (proc(5), clear_refs).
  std::ofstream("/proc/self/clear_refs") << 5;
  const long before = status_kib("VmHWM");
  act();
  return status_kib("VmHWM") - before;
}

}  // namespace ebb::testing
