// Stands for cublas_lt.cu where there is no device, or its header was not there at build time.
#include "kernels/cuda/cublas_lt.h"

namespace ebb::kernels::cuda {

std::unique_ptr<Gemm> make_cublas_lt(CudaContext&, GemmInputs, std::string& why) {
#ifdef EBB_CUDA_EMULATED
  why = "emulated";
#else
  why = "this build had no cublasLt.h";
#endif
  return nullptr;
}

}  // namespace ebb::kernels::cuda
