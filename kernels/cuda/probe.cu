// See probe.h. Without a driver cudart answers cudaErrorInsufficientDriver, not "no device", and
// leaves its outputs alone.
#include "kernels/cuda/probe.h"

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/runtime.h"

#ifndef EBB_CUDA_ARCHITECTURES
#error "the build says for which architectures this is compiled"
#endif

namespace ebb::kernels::cuda {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string why_no_devices(cudaError_t error, const Found& found) {
  if (found.driver_version == 0) {
    return "no NVIDIA driver: libcuda.so.1 is not on this machine (needed: CUDA " +
           version_text(found.runtime_version) + " or newer)";
  }
  if (error == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is too old: it knows CUDA " + version_text(found.driver_version) +
           ", this build needs " + version_text(found.runtime_version);
  }
  if (error == cudaErrorNoDevice || error == cudaSuccess) {
    return "the NVIDIA driver sees no device (is CUDA_VISIBLE_DEVICES set?)";
  }
  return "the NVIDIA driver does not start: " + describe(error);
}

std::string identity_of(const cudaDeviceProp& properties) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : properties.uuid.bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

/// Touches the device for the first time: code for its architecture is loaded, or is missing.
__global__ void touch_kernel(int* out) { *out = 1; }

}  // namespace

std::string built_architectures() { return EBB_CUDA_ARCHITECTURES; }

Found probe() {
  Found found;
  (void)cudaDriverGetVersion(&found.driver_version);
  (void)cudaRuntimeGetVersion(&found.runtime_version);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  (void)cudaGetLastError();  // asking is no failure
  if (error != cudaSuccess || count == 0) {
    found.why_none = why_no_devices(error, found);
    return found;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties = {};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    found.devices.push_back({i, properties.name, properties.totalGlobalMem,
                             properties.major * 10 + properties.minor, identity_of(properties)});
  }
  return found;
}

Result<void> check_usable(int device) {
  const Found found = probe();
  if (!found.why_none.empty()) return unsupported("cuda: " + found.why_none);
  if (device < 0 || static_cast<size_t>(device) >= found.devices.size()) {
    return unsupported("cuda: device " + std::to_string(device) + " of " +
                       std::to_string(found.devices.size()) + " (numbered from 0) is not there");
  }
  const std::string name = "cuda: device " + std::to_string(device) + " (" +
                           found.devices[static_cast<size_t>(device)].name + ")";
  int* d_out = nullptr;
  cudaError_t error = cudaSetDevice(device);
  if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void**>(&d_out), sizeof *d_out);
  if (error == cudaSuccess) {
    launch({dim3(1), 1, 0, nullptr}, &touch_kernel, d_out);
    error = cudaGetLastError();
  }
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (d_out != nullptr) (void)cudaFree(d_out);
  (void)cudaGetLastError();
  if (error == cudaSuccess) return {};
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion) {
    const int capability = found.devices[static_cast<size_t>(device)].capability;
    return unsupported(name + ": this build has no code for compute capability " +
                       std::to_string(capability / 10) + "." + std::to_string(capability % 10) +
                       " (it has: " + built_architectures() + ")");
  }
  if (error == cudaErrorMemoryAllocation) return exhausted(name + ": its memory is full");
  return unsupported(name + ": does not run: " + describe(error));
}

}  // namespace ebb::kernels::cuda
