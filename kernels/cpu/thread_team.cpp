// See thread_team.h.
//
// The gate is one 64-bit word: generation (high half), a closed bit, and how many helpers joined. A
// helper joins by a compare-and-swap that succeeds only while the gate of that generation is open;
// the caller closes it with one fetch_or, which also tells it for how many helpers to wait. So a
// helper that wakes late finds a closed gate and can touch nothing of a finished (or of the next)
// job.
#include "kernels/cpu/thread_team.h"

#include <pthread.h>

#include <chrono>
#include <csignal>

namespace ebb::kernels::cpu {
namespace {

constexpr uint64_t kClosed = uint64_t{1} << 31;
constexpr uint64_t kJoinedMask = kClosed - 1;
constexpr uint64_t kGeneration = uint64_t{1} << 32;

/// Longer than the serial work between two loops of a decode step, far shorter than a scheduler
/// slice.
constexpr std::chrono::microseconds kSpin{50};
constexpr int kPausesPerLook = 16;

/// Looks until `done()` or until kSpin has passed; says whether it is done.
template <class Done>
bool spin_until(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (done()) return true;
      __builtin_ia32_pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

ThreadTeam::ThreadTeam(uint32_t threads) : gate_(kClosed) {
  // Signals belong to the threads that wait for them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (uint32_t i = 1; i < threads; ++i) {
    helpers_.emplace_back([this] { help(); });
    pthread_setname_np(helpers_.back().native_handle(), "ebb-compute");
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadTeam::~ThreadTeam() {
  stopping_.store(true);
  doorbell_.fetch_add(1);
  doorbell_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadTeam::run_shared(const Job& job) {
  // 1. Nobody is inside: the gate is closed, and the last job waited for all who joined.
  job_ = job;
  next_.store(0, std::memory_order_relaxed);
  left_.store(0, std::memory_order_relaxed);
  const uint64_t generation =
      (gate_.load(std::memory_order_relaxed) / kGeneration + 1) * kGeneration;
  // 2. Open, and wake who sleeps. Sequentially consistent: a helper looks at the gate after it has
  // read the bell.
  gate_.store(generation);
  doorbell_.fetch_add(1);
  doorbell_.notify_all();
  take_tasks();
  // 3. Close; wait for those who joined, and only for them.
  const auto joined = static_cast<uint32_t>(gate_.fetch_or(kClosed) & kJoinedMask);
  if (spin_until([&] { return left_.load(std::memory_order_acquire) == joined; })) return;
  for (uint32_t left = left_.load(std::memory_order_acquire); left != joined;
       left = left_.load(std::memory_order_acquire)) {
    left_.wait(left, std::memory_order_acquire);
  }
}

void ThreadTeam::take_tasks() {
  for (uint64_t task = next_.fetch_add(1, std::memory_order_relaxed); task < job_.tasks;
       task = next_.fetch_add(1, std::memory_order_relaxed)) {
    job_.call(job_.context, task);
  }
}

/// The number of helpers that joined this generation earlier; -1: too late.
int64_t ThreadTeam::try_join(uint64_t gate) {
  const uint64_t generation = gate / kGeneration;
  while (gate / kGeneration == generation && (gate & kClosed) == 0) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) {
      return static_cast<int64_t>(gate & kJoinedMask);
    }
  }
  return -1;
}

uint64_t ThreadTeam::wait_for_gate(uint64_t seen) {
  uint64_t gate = 0;
  const auto opened = [&] {
    gate = gate_.load();
    return gate / kGeneration != seen || stopping_.load(std::memory_order_relaxed);
  };
  while (!spin_until(opened)) {
    const int bell = doorbell_.load();
    if (opened()) break;
    doorbell_.wait(bell);
  }
  return gate;
}

void ThreadTeam::help() {
  uint64_t seen = 0;
  while (true) {
    const uint64_t gate = wait_for_gate(seen);
    if (stopping_.load()) return;
    seen = gate / kGeneration;
    const int64_t earlier = try_join(gate);
    if (earlier < 0) continue;
    // Only now is the job ours to read. More than wanted just pass through.
    if (earlier < int64_t{job_.helpers_max}) take_tasks();
    left_.fetch_add(1, std::memory_order_acq_rel);
    left_.notify_one();
  }
}

}  // namespace ebb::kernels::cpu
