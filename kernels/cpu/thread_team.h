// The compute threads of one CPU backend: a loop over independent tasks, dealt as threads become
// free.
//
// Why not OpenMP: a decode step has about two hundred short parallel loops. Its barriers either
// spin for long (and cost neighbours on shared cores whole scheduler slices) or sleep (and cost
// every loop two wake-ups); and its barrier waits for threads that the system has not even started.
// Here the caller starts at once, helpers join while there is work, nobody waits for one that never
// joined, and the spinning is bounded.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace ebb::kernels::cpu {

class ThreadTeam {
 public:
  /// Starts `threads` - 1 helpers, asleep.
  explicit ThreadTeam(uint32_t threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  /// Calls body(task) once for each task in [0, tasks), on up to `threads` threads, the caller
  /// among them, and returns when all have run. Tasks start in ascending order, but any thread may
  /// take any: results must not depend on it. One caller at a time; a body must not call run.
  template <class Body>
  void run(uint32_t threads, uint64_t tasks, const Body& body) {
    if (threads <= 1 || tasks <= 1 || helpers_.empty()) {
      for (uint64_t task = 0; task < tasks; ++task) body(task);
      return;
    }
    const uint64_t helpers = (tasks < threads ? tasks : threads) - 1;
    run_shared(
        {[](const void* context, uint64_t task) { (*static_cast<const Body*>(context))(task); },
         &body, tasks, static_cast<uint32_t>(helpers)});
  }

 private:
  struct Job {
    void (*call)(const void* context, uint64_t task) = nullptr;
    const void* context = nullptr;
    uint64_t tasks = 0;
    uint32_t helpers_max = 0;
  };

  void run_shared(const Job& job);
  void take_tasks();
  void help();
  int64_t try_join(uint64_t gate);
  uint64_t wait_for_gate(uint64_t seen);

  Job job_;  ///< written only while the gate is closed and nobody is inside
  /// generation, closed bit, helpers that joined: see thread_team.cpp
  std::atomic<uint64_t> gate_;
  std::atomic<uint64_t> next_{0};  ///< first task nobody has taken
  std::atomic<uint32_t> left_{0};  ///< helpers that joined this generation and have finished
  std::atomic<int> doorbell_{0};   ///< rung at every opening of the gate, and to stop
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace ebb::kernels::cpu
