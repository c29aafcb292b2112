// Memory of the CPU backend: ordinary memory, in 2 MiB pages where the system gives them.
#pragma once

#include "kernels/device.h"

namespace ebb::kernels::cpu {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const char* isa);
  DeviceInfo info() const override;
  Result<Buffer> allocate(size_t bytes, MemoryKind kind) override;
  void copy_to_device(void* device, const void* host, size_t bytes) override;
  void copy_on_device(void* to, const void* from, size_t bytes) override;
  void copy_to_host(void* host, const void* device, size_t bytes) override;
  Result<void> synchronize() override;

 private:
  DeviceInfo info_;
};

}  // namespace ebb::kernels::cpu
