// Memory of a compute device and copies to and from it; nothing about attention. On the CPU backend
// device memory is ordinary memory (2 MiB pages where the system gives them), but nobody above
// kernels/ may assume it: only backends dereference device pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace ebb::kernels {

enum class MemoryKind {
  kDevice,
  kHost
};  ///< kHost: reachable by both sides (pinned, where that means something)

/// Owns one allocation. Moves, does not copy. Frees through the device that made it (which must
/// outlive it).
class Buffer {
 public:
  using Free = void (*)(void* owner, void* data, size_t bytes);
  Buffer() = default;
  Buffer(void* data, size_t bytes, Free free, void* owner)
      : data_(data), bytes_(bytes), free_(free), owner_(owner) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) free_(owner_, data_, bytes_);
  }
  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }
  std::byte* bytes_ptr() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(free_, other.free_);
    std::swap(owner_, other.owner_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Free free_ = nullptr;
  void* owner_ = nullptr;
};

struct DeviceInfo {
  std::string name;  ///< "cpu avx512 (Intel ...)"
  std::string isa;   ///< what the kernels were dispatched to: "x86-64-v2", "avx2", "avx512"
  uint64_t memory_bytes = 0;
  /// Code outside the backend may read and write device memory: then collectives on the host work
  /// on it in place, else on a copy.
  bool host_reachable = false;
  std::string identity;  ///< the same for two processes on one GPU; empty: no GPU
};

/// Owned by the engine thread; every method is called there only.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceInfo info() const = 0;
  /// Contents are undefined, alignment is at least 64 bytes. Errors: kExhausted.
  virtual Result<Buffer> allocate(size_t bytes, MemoryKind kind) = 0;
  /// Copies are ordered with the ops before and after them; the host side is valid when
  /// copy_to_host returns.
  virtual void copy_to_device(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  /// Between two places in device memory that do not overlap.
  virtual void copy_on_device(void* to, const void* from, size_t bytes) = 0;
  /// Waits until everything enqueued has run. Errors: kInternal (a kernel failed, the device is
  /// lost).
  virtual Result<void> synchronize() = 0;
  /// Makes this device the calling thread's, as a library wants it that works on its memory there
  /// (UCX). Any thread, as an exception; before the device is used, or while it is idle. Errors:
  /// kInternal.
  virtual Result<void> attach_thread() { return {}; }
};

}  // namespace ebb::kernels
