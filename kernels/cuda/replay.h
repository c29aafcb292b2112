// Runs of operations that are enqueued again and again alike (kernels/ops.h, replayable): recorded
// as a CUDA graph, which the host launches in one call instead of one for every kernel. A decode
// step has hundreds of small kernels, and launching them costs more than some of them take.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

class Replay {
 public:
  explicit Replay(CudaContext& context) : context_(context) {}
  ~Replay() { clear(); }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// Enqueues what `body` does: the first time by running it (scratch grows, kernels are loaded),
  /// the second time by recording it, then by replaying the recording. A body that cannot be
  /// recorded is run each time.
  void run(uint64_t key, const std::function<void()>& body);

  /// Recordings that are kept: 80 layers of three runs at eight batch sizes.
  static constexpr size_t kRecordings = 2048;
  size_t recordings() const { return recordings_.size(); }

 private:
  struct Recording {
    cudaGraphExec_t graph = nullptr;
    bool hopeless = false;
    uint64_t used = 0;  ///< when, on the clock of calls
  };
  cudaGraphExec_t record(const std::function<void()>& body);
  void clear();
  void make_room();

  CudaContext& context_;
  std::unordered_map<uint64_t, Recording> recordings_;
  uint64_t generation_ = 0;  ///< of the context, when they were made
  uint64_t clock_ = 0;
  bool recording_ = false;
};

}  // namespace ebb::kernels::cuda
