// The one symbol of libebb_cuda.so, and what stands behind it. Included by the plugin and by
// whoever loads it (cuda_plugin_loader.h); knows nothing of CUDA.
//
// The plugin is made by the same build as its user: C++ objects cross between them, and `abi` says
// that both mean the same ones. It must be changed with anything that crosses: kernels/ops.h,
// kernels/device.h, transport/collective/collective.h, Result, this file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "transport/collective/collective.h"

namespace ebb::kernels {

struct CudaOptions {
  int device = 0;          ///< as the driver numbers what CUDA_VISIBLE_DEVICES leaves
  bool gemm_bf16 = false;  ///< products of many rows take their inputs as bf16, not as tf32
  /// Decode steps are started as CUDA graphs; also off with EBB_CUDA_GRAPHS=0. The same results.
  bool graphs = true;
};

/// What the plugin found on this machine.
struct CudaFound {
  std::string driver;         ///< "13.0"; "none"
  std::string runtime;        ///< of the build: "13.0"
  std::string architectures;  ///< of the build: "80, 90a"
  std::vector<std::string> devices;
  std::string why_none;  ///< a sentence, where there are no devices
};

constexpr uint32_t kCudaPluginAbi = 4;

struct CudaPlugin {
  uint32_t abi = kCudaPluginAbi;
  uint32_t struct_bytes = sizeof(CudaPlugin);
  CudaFound (*probe)() = nullptr;
  /// Errors: those of CudaContext::make.
  Result<Backend> (*make_backend)(const CudaOptions& options) = nullptr;
  /// Why make_collective cannot work on this machine (NCCL is not there); empty: it can.
  std::string (*why_no_collective)() = nullptr;
  /// Over NCCL, on the device of a backend that make_backend made; it must outlive the collective.
  /// One rank to a GPU. Errors: kUnsupported, and those of make_nccl_collective.
  Result<std::unique_ptr<collective::Collective>> (*make_collective)(
      Device& device, const collective::CollectiveOptions& options,
      const collective::Rendezvous& rendezvous) = nullptr;
};

/// The type of the plugin's one symbol, `ebb_cuda_backend_v1`: the answer lives as long as the
/// plugin is loaded.
using CudaPluginEntry = const CudaPlugin* (*)();
constexpr const char* kCudaPluginSymbol = "ebb_cuda_backend_v1";

}  // namespace ebb::kernels
