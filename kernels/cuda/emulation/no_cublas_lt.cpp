// Stands for cublas_lt.cu, which needs a device.
#include "kernels/cuda/cublas_lt.h"

namespace ebb::kernels::cuda {

std::unique_ptr<Gemm> make_cublas_lt(CudaContext&, GemmInputs, std::string& why) {
  why = "emulated";
  return nullptr;
}

}  // namespace ebb::kernels::cuda
