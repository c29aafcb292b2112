// See cuda_emulation.h. The threads of a block, their barriers, and the exchange within a warp.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/emulation/fibers.h"
#include "kernels/cuda/emulation/graphs.h"

namespace ebb::emulation {
namespace {

constexpr unsigned kThreadsMax = 1024;
constexpr size_t kSharedMax = size_t{227} << 10;  // what a Hopper block may ask for
enum class State : uint8_t { kReady, kAtBlockBarrier, kAtWarpBarrier, kEnded };

struct Thread {
  Lane lane;
  State state = State::kEnded;
  unsigned mask = 0;  ///< of the warp barrier at which it waits
  uint64_t given = 0;
};

[[noreturn]] void fail(const Thread& t, const char* what) {
  std::fprintf(stderr, "emulated kernel: block (%u, %u, %u), thread %u: %s\n", t.lane.block.x,
               t.lane.block.y, t.lane.block.z, t.lane.thread.x, what);
  std::abort();
}

uint64_t seed_of_process() {
  const char* text = std::getenv("EBB_EMULATION_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

/// One per OS thread, which runs one block at a time on it.
class Block {
 public:
  void run(unsigned threads, dim3 grid, uint3 index, const std::function<void()>& body) {
    while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
    threads_.assign(threads, {});
    for (unsigned i = 0; i < threads; ++i) {
      threads_[i].lane = {{i, 0, 0}, index, dim3(threads), grid};
      threads_[i].state = State::kReady;
      fibers_[i]->begin(&body);
    }
    alive_ = threads;
    while (alive_ > 0) round();
  }

  const Lane& lane() const { return threads_[current_].lane; }
  bool running() const { return alive_ > 0; }

  void sync_threads() { wait(State::kAtBlockBarrier, 0); }

  void sync_warp(unsigned mask) {
    const unsigned own = 1u << current_ % 32;
    if ((mask & own) == 0) fail(threads_[current_], "is not in the mask of its warp function");
    wait(State::kAtWarpBarrier, mask);
  }

  uint64_t exchange(unsigned mask, uint64_t mine, unsigned source) {
    threads_[current_].given = mine;
    sync_warp(mask);
    if (source >= 32 || (mask >> source & 1) == 0) {
      fail(threads_[current_], "asks for the value of a lane that is not in the mask");
    }
    const uint64_t got = threads_[current_ / 32 * 32 + source].given;
    sync_warp(mask);
    return got;
  }

  unsigned ballot(unsigned mask, int value) {
    threads_[current_].given = value != 0;
    sync_warp(mask);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; ++i) {
      if ((mask >> i & 1) != 0 && threads_[current_ / 32 * 32 + i].given != 0) votes |= 1u << i;
    }
    sync_warp(mask);
    return votes;
  }

 private:
  /// Everyone who can run does, in a new order each time; then barriers that are complete open.
  void round() {
    order_.clear();
    for (unsigned i = 0; i < threads_.size(); ++i) {
      if (threads_[i].state == State::kReady) order_.push_back(i);
    }
    if (order_.empty()) return open_barriers();
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const unsigned i : order_) {
      current_ = i;
      if (!fibers_[i]->resume()) continue;
      threads_[i].state = State::kEnded;
      --alive_;
    }
  }

  void open_barriers() {
    bool opened = false;
    for (unsigned first = 0; first < threads_.size(); first += 32) opened |= open_warp(first);
    if (opened) return;
    for (const Thread& t : threads_) {
      if (t.state == State::kAtWarpBarrier) {
        fail(t, "waits at a warp function for lanes of its mask that do not come");
      }
    }
    // CUDA counts threads that have returned as arrived.
    for (Thread& t : threads_) {
      if (t.state == State::kAtBlockBarrier) t.state = State::kReady;
    }
  }

  bool open_warp(unsigned first) {
    bool opened = false;
    for (unsigned i = first; i < std::min<size_t>(first + 32, threads_.size()); ++i) {
      const unsigned mask = threads_[i].mask;
      if (threads_[i].state != State::kAtWarpBarrier || !complete(first, mask)) continue;
      for (unsigned j = 0; j < 32; ++j) {
        if ((mask >> j & 1) != 0 && first + j < threads_.size()) {
          threads_[first + j].state = State::kReady;
        }
      }
      opened = true;
    }
    return opened;
  }

  /// Lanes beyond the end of a block whose size is no multiple of 32 do not exist.
  bool complete(unsigned first, unsigned mask) const {
    for (unsigned j = 0; j < 32 && first + j < threads_.size(); ++j) {
      if ((mask >> j & 1) == 0) continue;
      const Thread& t = threads_[first + j];
      if (t.state == State::kEnded) fail(t, "has returned, but its warp waits for it");
      if (t.state != State::kAtWarpBarrier) return false;
      if (t.mask != mask) fail(t, "waits at a warp function with another mask than its lanes");
    }
    return true;
  }

  void wait(State state, unsigned mask) {
    Thread& t = threads_[current_];
    t.state = state;
    t.mask = mask;
    fibers_[current_]->pause();
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Thread> threads_;
  std::vector<unsigned> order_;
  std::mt19937_64 random_{seed_of_process()};
  unsigned current_ = 0;
  unsigned alive_ = 0;
};

thread_local Block g_block;
/// Exactly as large as the launch asked for, so that AddressSanitizer sees what lies beyond.
thread_local std::byte* g_shared = nullptr;

}  // namespace

const Lane& lane() { return g_block.lane(); }
void sync_threads() { g_block.sync_threads(); }
void sync_warp(unsigned mask) { g_block.sync_warp(mask); }
uint64_t exchange(unsigned mask, uint64_t mine, unsigned source) {
  return g_block.exchange(mask, mine, source);
}
unsigned ballot(unsigned mask, int value) { return g_block.ballot(mask, value); }
std::byte* dynamic_shared() { return g_shared; }

void run_grid(dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()>& body) {
  if (g_block.running()) std::abort();  // a kernel that launches another: not emulated
  if (threads == 0 || threads > kThreadsMax || shared_bytes > kSharedMax || grid.x == 0 ||
      grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
    std::fprintf(stderr, "emulation: no device launches %u x %u x %u blocks of %u threads, %zu B\n",
                 grid.x, grid.y, grid.z, threads, shared_bytes);
    std::abort();
  }
  // Bytes that nobody wrote are NaN as floats: a kernel that counts on zeros shows.
  std::unique_ptr<std::byte, decltype(&std::free)> shared(
      static_cast<std::byte*>(std::aligned_alloc(128, (shared_bytes + 127) / 128 * 128 + 128)),
      &std::free);
  g_shared = shared.get();
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        std::memset(g_shared, 0xff, shared_bytes);
        g_block.run(threads, grid, {x, y, z}, body);
      }
    }
  }
  g_shared = nullptr;
}

}  // namespace ebb::emulation
