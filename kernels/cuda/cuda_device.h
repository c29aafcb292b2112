// Memory of one CUDA device. Device memory by cudaMalloc, host memory pinned.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_context.h"
#include "kernels/device.h"

namespace ebb::kernels::cuda {

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<CudaContext> context, DeviceInfo info)
      : context_(std::move(context)), info_(std::move(info)) {}
  DeviceInfo info() const override { return info_; }
  Result<Buffer> allocate(size_t bytes, MemoryKind kind) override;
  void copy_to_device(void* device, const void* host, size_t bytes) override;
  void copy_to_host(void* host, const void* device, size_t bytes) override;
  void copy_on_device(void* to, const void* from, size_t bytes) override;
  Result<void> synchronize() override;
  Result<void> attach_thread() override;
  const std::shared_ptr<CudaContext>& context() const { return context_; }

 private:
  std::shared_ptr<CudaContext> context_;
  DeviceInfo info_;
};

}  // namespace ebb::kernels::cuda
