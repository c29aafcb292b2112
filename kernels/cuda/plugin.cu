// See plugin.h.
#include "kernels/cuda/plugin.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/nccl_collective.h"
#include "kernels/cuda/probe.h"

namespace ebb::kernels::cuda {
namespace {

std::string version_text(int version) {
  if (version == 0) return "none";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

CudaFound probe_for_user() {
  const Found found = probe();
  CudaFound answer;
  answer.driver = version_text(found.driver_version);
  answer.runtime = version_text(found.runtime_version);
  answer.architectures = built_architectures();
  answer.why_none = found.why_none;
  for (const FoundDevice& device : found.devices) {
    answer.devices.push_back(device.name + ", compute capability " +
                             capability_text(device.capability) + ", " +
                             std::to_string(device.memory_bytes >> 20) + " MiB");
  }
  return answer;
}

bool graphs_wanted(const CudaOptions& options) {
  const char* set = std::getenv("EBB_CUDA_GRAPHS");
  return options.graphs && (set == nullptr || std::strcmp(set, "0") != 0);
}

Result<Backend> make_backend(const CudaOptions& options) {
  auto context = EBB_TRY(CudaContext::make(options.device));
  const Found found = probe();
  const FoundDevice& chosen = found.devices[static_cast<size_t>(options.device)];
  DeviceInfo info;
  info.name = "cuda " + std::to_string(options.device) + " (" + chosen.name + ")";
  info.isa = "sm_" + std::to_string(chosen.capability);
  info.memory_bytes = chosen.memory_bytes;
  info.identity = chosen.identity;
  Backend backend;
  auto gemm = Gemm::make(*context, options.gemm_bf16 ? GemmInputs::kBf16 : GemmInputs::kTf32);
  info.name += ", " + gemm->name();
  backend.device = std::make_unique<CudaDevice>(context, info);
  backend.ops =
      std::make_unique<CudaOps>(context, *backend.device, std::move(gemm), graphs_wanted(options));
  return Result<Backend>(std::move(backend));
}

std::string why_no_collective() {
  const auto nccl = load_nccl();
  return nccl ? "" : nccl.error().message;
}

Result<std::unique_ptr<collective::Collective>> make_collective(
    Device& device, const collective::CollectiveOptions& options,
    const collective::Rendezvous& rendezvous) {
  auto nccl = EBB_TRY(load_nccl());
  return make_nccl_collective(static_cast<CudaDevice&>(device).context(), std::move(nccl), options,
                              rendezvous);
}

}  // namespace
}  // namespace ebb::kernels::cuda

// All else in the library is hidden.
extern "C" __attribute__((visibility("default"))) const ebb::kernels::CudaPlugin*
ebb_cuda_backend_v1() {
  static const ebb::kernels::CudaPlugin plugin = [] {
    ebb::kernels::CudaPlugin p;
    p.probe = &ebb::kernels::cuda::probe_for_user;
    p.make_backend = &ebb::kernels::cuda::make_backend;
    p.why_no_collective = &ebb::kernels::cuda::why_no_collective;
    p.make_collective = &ebb::kernels::cuda::make_collective;
    return p;
  }();
  return &plugin;
}
