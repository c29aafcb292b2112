// See cuda_device.h.
#include "kernels/cuda/cuda_device.h"

namespace ebb::kernels::cuda {

Result<Buffer> CudaDevice::allocate(size_t bytes, MemoryKind kind) {
  if (context_->failed()) return context_->error();
  const size_t size = std::max<size_t>(bytes, 1);
  void* data = nullptr;
  if (kind == MemoryKind::kHost) {
    const cudaError_t error = cudaHostAlloc(&data, size, cudaHostAllocDefault);
    if (error == cudaSuccess) {
      return Buffer(
          data, bytes,
          [](void* device, void* owned, size_t) {
            static_cast<CudaDevice*>(device)->context_->enqueue_taken();
            (void)cudaFreeHost(owned);
          },
          this);
    }
    (void)cudaGetLastError();
    return exhausted("cuda device " + std::to_string(context_->device()) +
                     ": no pinned memory for " + std::to_string(bytes) +
                     " bytes: " + describe(error));
  }
  const cudaError_t error = cudaMalloc(&data, size);
  if (error == cudaSuccess) {
    return Buffer(
        data, bytes,
        [](void* device, void* owned, size_t) {
          static_cast<CudaDevice*>(device)->context_->enqueue_taken();  // it may name this memory
          (void)cudaFree(owned);
        },
        this);
  }
  (void)cudaGetLastError();  // an allocation that does not fit leaves the device as it was
  if (error != cudaErrorMemoryAllocation) {
    context_->check(error, "allocating");
    return context_->error();
  }
  size_t free_bytes = 0, total = 0;
  (void)cudaMemGetInfo(&free_bytes, &total);
  return exhausted("cuda device " + std::to_string(context_->device()) + ": " +
                   std::to_string(bytes) + " bytes asked, " + std::to_string(free_bytes) + " of " +
                   std::to_string(total) + " are free");
}

void CudaDevice::copy_to_device(void* device, const void* host, size_t bytes) {
  context_->copy_in(device, host, bytes);
}

void CudaDevice::copy_to_host(void* host, const void* device, size_t bytes) {
  if (bytes == 0 || context_->failed()) return;
  context_->check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, context_->stream()),
                  "copying to the host");
  context_->wait("copying to the host");
}

void CudaDevice::copy_on_device(void* to, const void* from, size_t bytes) {
  if (bytes == 0 || context_->failed()) return;
  context_->copy_on_device(to, from, bytes);
}

Result<void> CudaDevice::synchronize() {
  if (!context_->failed()) context_->wait("running a step");
  if (context_->failed()) return context_->error();
  return {};
}

/// Of the runtime: the device's primary context becomes the thread's, for the driver's calls too.
Result<void> CudaDevice::attach_thread() {
  const cudaError_t error = cudaSetDevice(context_->device());
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();
  return internal_error("cuda device " + std::to_string(context_->device()) +
                        " for another thread: " + describe(error));
}

}  // namespace ebb::kernels::cuda
