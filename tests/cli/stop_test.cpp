#include "cli/stop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

namespace ebb::cli {
namespace {

/// Ends with status 7 when the signal has become a flag; the alarm ends a wait in vain.
[[noreturn]] void raise_and_wait(int signal) {
  alarm(20);
  const StopFlag stop = stop_on_signals();
  if (stop->load()) _exit(1);
  kill(getpid(), signal);
  while (!stop->load()) std::this_thread::yield();
  _exit(7);
}

TEST(StopDeathTest, SignalsSetTheFlagInsteadOfEndingTheProcess) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    EXPECT_EXIT(raise_and_wait(signal), testing::ExitedWithCode(7), "") << signal;
}

}  // namespace
}  // namespace ebb::cli
