#include "cli/stop.h"

#include <pthread.h>
#include <signal.h>

#include <thread>

namespace ebb::cli {

StopFlag stop_on_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto stop = std::make_shared<std::atomic<bool>>(false);
  std::thread([signals, stop] {
    int signal = 0;
    sigwait(&signals, &signal);
    stop->store(true);
  }).detach();
  return stop;
}

}  // namespace ebb::cli
