// EBB_CHECK: a broken invariant of ours ends the process, in release builds too: better a dead
// worker than a wrong token. Never for bad input: that is a Result.
#pragma once

namespace ebb::detail {
[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}

#define EBB_CHECK(condition)                                       \
  do {                                                             \
    if (!(condition)) [[unlikely]]                                 \
      ::ebb::detail::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
