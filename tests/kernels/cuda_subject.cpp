// The CUDA backend under test: emulated, or on a GPU where this is linked with what nvcc made.
#include "kernels/cuda/plugin.h"
#include "tests/kernels/kernels_fixture.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace ebb::kernels {

const std::vector<const char*>& subjects() {
  static const std::vector<const char*> all = {"cuda"};
  return all;
}

Result<Backend> make_backend(const char*, uint32_t) {
  return ebb_cuda_backend_v1()->make_backend(CudaOptions());
}

bool runs_everywhere(const std::string&) {
  return ebb_cuda_backend_v1()->probe().architectures == "emulated";
}

std::span<const Limit> subject_limits() {
  // Tiles on tensor cores take queries and weights as two bf16 each: 2^-17 of a product is lost.
  static const Limit emulated[] = {{"attend", 4e-10, 1e-4}, {"lse", 4e-11, 2e-5}};
  // cuBLASLt, which emulation has not, takes the inputs of many rows as tf32: 2^-11 is lost.
  static const Limit on_device[] = {
      {"attend", 4e-10, 1e-4}, {"lse", 4e-11, 2e-5}, {"matmul", 1e-6, 5e-3}};
  static const CudaFound found = ebb_cuda_backend_v1()->probe();
  const bool real = !found.devices.empty() && !found.devices.front().starts_with("emulated");
  return real ? std::span<const Limit>(on_device) : std::span<const Limit>(emulated);
}

}  // namespace ebb::kernels
