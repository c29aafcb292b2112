// What the device and its operations share: the stream, the first error, memory for what the host
// hands over with a call, and scratch. One per backend; engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
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

  cudaStream_t stream() const { return stream_; }
  int device() const { return device_; }
  uint32_t multiprocessors() const { return multiprocessors_; }
  uint32_t shared_bytes_max() const { return shared_bytes_max_; }

  /// Keeps the first error that is not cudaSuccess, with what was being done.
  void check(cudaError_t error, const char* what);
  /// The same of an allocation: says how much was asked, and how much of the device is free.
  void check_room(cudaError_t error, const char* what, size_t bytes);
  void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }
  bool failed() const { return error_ != cudaSuccess; }
  /// kInternal ("the device is lost: ..."), kExhausted; the error that was kept.
  Error error() const;

  Launch shape(dim3 grid, unsigned threads, size_t shared_bytes = 0) const {
    return {grid, threads, shared_bytes, stream_};
  }

  /// A copy of host values in device memory, in order with the work around it; the values may
  /// change when this returns. It stays until the context has handed out much more (stage_bytes),
  /// so: use it in this operation. Alignment 16.
  template <class T>
  const T* upload(std::span<const T> values) {
    return static_cast<const T*>(upload_bytes(values.data(), values.size_bytes()));
  }
  template <class T>
  const T* upload(const std::vector<T>& values) {
    return upload(std::span<const T>(values));
  }
  const void* upload_bytes(const void* values, size_t bytes);
  /// The same memory for what the caller writes itself, at most kRoomBytes: pinned, read by the
  /// kernels that are enqueued next. Null after an error.
  std::byte* upload_room(size_t bytes) { return stage_room(bytes); }
  static constexpr size_t kRoomBytes = size_t{1} << 20;
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

  /// From here to end_capture() what operations enqueue is recorded, not run. False: not possible
  /// now. What cannot be recorded (waiting, growing scratch, values of the host) does nothing in
  /// between, spoils the recording, and is no error.
  bool begin_capture();
  /// The recording; null where it was spoilt. The caller owns it.
  cudaGraph_t end_capture();
  /// Changes whenever device memory that a recording may name has been given back.
  uint64_t generation() const { return generation_; }
  void memory_given_back() { ++generation_; }

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
  bool spoils_capture() {
    spoilt_ = spoilt_ || capturing_;
    return capturing_;
  }

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
  std::vector<std::pair<std::byte*, std::byte*>> retired_;  ///< rings that were too small
  bool capturing_ = false;
  bool spoilt_ = false;
  uint64_t generation_ = 0;
  Room scratch_[kUses];
  Room pinned_;
};

/// One sentence: the function's number, name and meaning. After "the device is lost" errors nothing
/// can be done with the device by this process.
std::string describe(cudaError_t error);

}  // namespace ebb::kernels::cuda
