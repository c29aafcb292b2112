// Streams of the emulated runtime: queues of work that is done late, in an order that
// EBB_EMULATION_SEED chooses, and never later than somebody waits for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cuda/emulation/cuda_runtime_api.h"

namespace ebb::emulation {

using Work = std::function<void()>;

/// A place in a stream. Done when the stream's work has got there.
struct Mark {
  CUstream_st* stream = nullptr;
  bool done = false;
};

}  // namespace ebb::emulation

struct CUgraphNode_st {
  ebb::emulation::Work work;
};
struct CUstream_st {
  struct Item {
    ebb::emulation::Work work;                    ///< may be null
    std::shared_ptr<ebb::emulation::Mark> needs;  ///< first; null: nothing
    std::shared_ptr<ebb::emulation::Mark> sets;   ///< then
  };
  std::recursive_mutex mutex;
  std::deque<Item> queue;
  bool capturing = false;
  std::vector<std::unique_ptr<CUgraphNode_st>> captured;
  cudaGraphNode_t last = nullptr;     ///< captured
  std::atomic<std::thread::id> user;  ///< who gave it work last
  uint64_t losses = 0;                ///< of the device, when the queue was last looked at
};
struct CUevent_st {
  std::shared_ptr<ebb::emulation::Mark> mark;  ///< null: never recorded
};

namespace ebb::emulation {

CUstream_st* open_stream();
/// Does what is left first.
void close_stream(CUstream_st* stream);
/// Adds an item, and then does some of the queue, or all, or nothing.
void add(CUstream_st& stream, CUstream_st::Item item);
/// Does all of a stream up to the mark, and of other streams what that waits for.
void reach(Mark& mark);
void finish(CUstream_st& stream);
/// Everything that this thread was the last to give work to.
void finish_all();
/// A look at a device that goes on meanwhile.
bool has_come(Mark& mark);
/// From now on streams wait for no event: for tests that ask whether a wait that is missing would
/// be seen.
void ignore_waits(bool ignored);
bool waits_are_ignored();
/// How often the device was lost so far: what was queued before that is never done.
uint64_t losses();

}  // namespace ebb::emulation
