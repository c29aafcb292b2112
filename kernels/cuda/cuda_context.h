// What the device and its operations share: the stream, the first error, memory for what the host
// hands over with a call, and scratch. One per backend; engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace ebb::kernels::cuda {

/// May take what operations enqueue, in order to start it later in one piece (replay.h).
class Recorder : public LaunchTaker {
 public:
  /// Device memory in which the values will lie when what is taken next runs; null: not now.
  virtual const void* take_values(const void* values, size_t bytes) = 0;
  /// Work that is no kernel of ours. `what` says all that makes it this work and no other. False:
  /// not now.
  virtual bool take_work(std::span<const uint64_t> what,
                         const std::function<void(cudaStream_t)>& work) = 0;
  /// The launch taken last, for messages. False: it was not taken.
  virtual bool name_taken(const char* name) = 0;
  /// The host, or another stream, wants to see what was taken: it is enqueued now.
  virtual void enqueue_taken() = 0;

 protected:
  ~Recorder() = default;
};

/// CUDA reports a failed kernel at some later call, and then at every one: so operations do not
/// return errors. The first one is kept here, work after it is not looked at, and
/// Device::synchronize(), which every step asks, returns it.
class CudaContext {
 public:
  /// Errors: kUnsupported (no driver, an old one, no such device, an architecture that this build
  /// has no code for), kExhausted. Each says what was found and what is needed.
  static Result<std::shared_ptr<CudaContext>> make(int device);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  /// For work that goes by neither launch() nor enqueue(): what was taken before is enqueued.
  cudaStream_t stream() {
    enqueue_taken();
    return stream_;
  }
  bool owns(cudaStream_t stream) const { return stream == stream_; }
  int device() const { return device_; }
  uint32_t multiprocessors() const { return multiprocessors_; }
  uint32_t shared_bytes_max() const { return shared_bytes_max_; }

  /// Keeps the first error that is not cudaSuccess, with what was being done.
  void check(cudaError_t error, const char* what);
  /// The same of an allocation: says how much was asked, and how much of the device is free.
  void check_room(cudaError_t error, const char* what, size_t bytes);
  void check_launch(const char* kernel) {
    uploaded_ = 0;
    if (recorder_ == nullptr || !recorder_->name_taken(kernel)) check(cudaGetLastError(), kernel);
  }
  bool failed() const { return error_ != cudaSuccess; }
  /// kInternal ("the device is lost: ..."), kExhausted; the error that was kept.
  Error error() const;

  Launch shape(dim3 grid, unsigned threads, size_t shared_bytes = 0) const {
    return {grid, threads, shared_bytes, stream_, recorder_};
  }
  /// Work that is no kernel of ours: `work` enqueues it, now or later; `what` says all that makes
  /// it this work and no other.
  void enqueue(std::span<const uint64_t> what, const std::function<void(cudaStream_t)>& work);
  void copy_on_device(void* to, const void* from, size_t bytes);
  /// Bytes of zero.
  void clear(void* device, size_t bytes);

  /// A copy of host values in device memory, in order with the work around it; the values may
  /// change when this returns. It stays until what is launched next has run, and no longer: upload
  /// all that a launch reads before it. Alignment 16.
  template <class T>
  const T* upload(std::span<const T> values) {
    return static_cast<const T*>(upload_bytes(values.data(), values.size_bytes()));
  }
  template <class T>
  const T* upload(const std::vector<T>& values) {
    return upload(std::span<const T>(values));
  }
  const void* upload_bytes(const void* values, size_t bytes);
  /// Host values to a place in device memory, in order; the values may change when this returns.
  /// Small ones do not wait for the stream.
  void copy_in(void* device, const void* values, size_t bytes);

  /// Device memory that the calling operation alone uses, until the next one of the same `use`:
  /// operations run in order, so no two need it at once. Grows, and waits for the stream when it
  /// does. Null after an error.
  enum Use {
    kPartials,
    kScores,
    kWeights,
    kSmall,
    kInputs,
    kWorkspace,
    kFrames,
    kSelection,
    kUses
  };
  void* scratch(Use use, size_t bytes);
  template <class T>
  T* scratch_of(Use use, size_t count) {
    return static_cast<T*>(scratch(use, count * sizeof(T)));
  }

  /// Pinned host memory for results that are waited for.
  void* pinned(size_t bytes);
  /// Waits for the stream; keeps its error.
  void wait(const char* what);

  /// Whoever may take what is enqueued; outlives its use. Null: nobody.
  void set_recorder(Recorder* recorder) { recorder_ = recorder; }
  void enqueue_taken() {
    if (recorder_ != nullptr) recorder_->enqueue_taken();
  }
  /// For the recorder. From here to end_capture() what is enqueued is recorded by CUDA, not run.
  /// False: not possible now. Errors in between spoil the recording, and are none.
  bool begin_capture();
  /// The recording; null where it was spoilt. The caller owns it.
  cudaGraph_t end_capture();
  /// The node that was recorded last; null where that is not known.
  cudaGraphNode_t captured_node();
  /// For the recorder: as copy_in(), enqueues nothing before, and never waits for the copy.
  void copy_values(void* device, const void* values, size_t bytes);
  /// For the recorder: starts a graph.
  void start(cudaGraphExec_t graph) {
    check(cudaGraphLaunch(graph, stream_), "replaying operations");
  }

  RowMap row_map(const KvShape& shape, const KvRows& kv) {
    return {kv.d_arena,        upload(kv.blocks),    shape.block_tokens,
            shape.row_bytes(), shape.vector_bytes(), shape.element};
  }

 private:
  explicit CudaContext(int device) : device_(device) {}
  Result<void> start();
  bool resize_stage(size_t bytes);
  std::byte* stage_room(size_t bytes);
  std::byte* stage(const void* values, size_t bytes);

  struct Room {
    void* data = nullptr;
    size_t bytes = 0;
  };
  const int device_;
  uint32_t multiprocessors_ = 1;
  uint32_t shared_bytes_max_ = 48 << 10;
  cudaStream_t stream_ = nullptr;
  cudaError_t error_ = cudaSuccess;
  std::string doing_;
  // A ring in pinned memory and its copy on the device, written at the same offsets.
  std::byte* stage_ = nullptr;
  std::byte* d_stage_ = nullptr;
  size_t stage_bytes_ = 0;
  size_t stage_used_ = 0;
  size_t uploaded_ = 0;                                     ///< bytes that no launch has read yet
  std::vector<std::pair<std::byte*, std::byte*>> retired_;  ///< rings that were too small
  bool capturing_ = false;
  bool spoilt_ = false;
  Recorder* recorder_ = nullptr;
  Room scratch_[kUses];
  Room pinned_;
};

/// One sentence: the function's number, name and meaning. After "the device is lost" errors nothing
/// can be done with the device by this process.
std::string describe(cudaError_t error);

}  // namespace ebb::kernels::cuda
