// The one symbol of libebb_cuda.so, and what stands behind it. Included by the plugin and by whoever
// loads it (plugin_loader.h); knows nothing of CUDA.
//
// The plugin is made by the same build as its user: C++ objects cross between them, and `abi` says
// that both mean the same ones. It must be changed with anything that crosses: kernels/ops.h,
// kernels/device.h, Result, this file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"

namespace ebb::kernels {

struct CudaOptions {
  int device = 0;         ///< as the driver numbers what CUDA_VISIBLE_DEVICES leaves
  bool gemm_bf16 = false;  ///< products of many rows take their inputs as bf16, not as tf32
};

/// What the plugin found on this machine.
struct CudaFound {
  std::string driver;         ///< "13.0"; "none"
  std::string runtime;        ///< of the build: "13.0"
  std::string architectures;  ///< of the build: "80, 90a"
  std::vector<std::string> devices;
  std::string why_none;  ///< a sentence, where there are no devices
};

constexpr uint32_t kCudaPluginAbi = 1;

struct CudaPlugin {
  uint32_t abi = kCudaPluginAbi;
  uint32_t struct_bytes = sizeof(CudaPlugin);
  CudaFound (*probe)() = nullptr;
  /// Errors: those of CudaContext::make.
  Result<Backend> (*make_backend)(const CudaOptions& options) = nullptr;
};

/// The type of the plugin's one symbol, `ebb_cuda_backend_v1`: the answer lives as long as the
/// plugin is loaded.
using CudaPluginEntry = const CudaPlugin* (*)();
constexpr const char* kCudaPluginSymbol = "ebb_cuda_backend_v1";

}  // namespace ebb::kernels
