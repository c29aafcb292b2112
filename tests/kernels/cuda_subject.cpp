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

std::span<const Limit> subject_limits() {
  static const Limit limits[] = {
      // Tiles on tensor cores take queries and weights as two bf16 each: 2^-17 of a product is
      // lost.
      {"attend", 4e-10, 1e-4},
      {"lse", 4e-11, 2e-5},
  };
  return limits;
}

}  // namespace ebb::kernels
