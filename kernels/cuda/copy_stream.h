// A stream beside the context's, for what moves while the context's computes: work on it begins
// after what was computed before, and its end is an event that the host can ask for and the
// context's stream can wait for. Engine thread only.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Errors go to the context, as everywhere.
class CopyStream {
 public:
  explicit CopyStream(std::shared_ptr<CudaContext> context);
  /// Waits.
  ~CopyStream();
  CopyStream(const CopyStream&) = delete;
  CopyStream& operator=(const CopyStream&) = delete;

  /// What one piece of work is told, and what it tells: pinned memory and a copy of it on the
  /// device, lent from begin() until give_back().
  struct Slot {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
    size_t bytes = 0;
    cudaEvent_t over = nullptr;
  };

  CudaContext& context() { return *context_; }
  cudaStream_t stream() const { return stream_; }
  Launch shape(unsigned blocks, unsigned threads) const {
    return {blocks, threads, 0, stream_, nullptr};
  }

  /// From here on the stream goes on after all that the context has enqueued so far. Null after an
  /// error.
  Slot* begin(size_t bytes);
  /// Its work is all enqueued: the event marks its end.
  void end(Slot& slot);
  /// What the context enqueues from now on comes after the slot's work.
  void before_context(const Slot& slot);
  /// Neither waits nor lets a failed device pass for a busy one.
  bool over(const Slot& slot);
  void wait(const Slot& slot);
  /// Its work is over.
  void give_back(Slot* slot) { idle_.push_back(slot); }

  /// Memory of the device for the work of this stream, which runs in order. Null after an error.
  std::byte* scratch(size_t bytes);

 private:
  bool start();
  bool grow(Slot& slot, size_t bytes);

  const std::shared_ptr<CudaContext> context_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t computed_ = nullptr;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> idle_;
  std::byte* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
};

}  // namespace ebb::kernels::cuda
