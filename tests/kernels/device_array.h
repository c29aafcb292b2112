// Arrays in device memory for tests of what stands below kernels/ops.h.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Filled with 0xff, or with what is given.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count)
      : DeviceArray(std::span<const T>(std::vector<T>(count, poison()))) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::span<const T>(values)) {}
  explicit DeviceArray(std::span<const T> values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, std::max<size_t>(values.size_bytes(), 1)), cudaSuccess);
    copy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice);
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(other.count_) {}
  DeviceArray& operator=(DeviceArray&&) = delete;
  ~DeviceArray() {
    if (data_ != nullptr) (void)cudaFree(data_);
  }
  T* data() const { return static_cast<T*>(data_); }
  /// After everything enqueued has run.
  std::vector<T> values() const {
    std::vector<T> all(count_, poison());
    copy(all.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return all;
  }

 private:
  static T poison() {
    T value;
    std::memset(static_cast<void*>(&value), 0xff, sizeof value);
    return value;
  }
  static void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    if (bytes == 0) return;
    EXPECT_EQ(cudaMemcpy(to, from, bytes, kind), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  void* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace ebb::kernels::cuda
