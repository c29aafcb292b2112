// cuBLASLt, found at run time: nothing here is linked against it.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/gemm.h"

namespace ebb::kernels::cuda {

/// Null where this machine has no cuBLASLt that can be used; `why` says what was tried.
std::unique_ptr<Gemm> make_cublas_lt(CudaContext& context, GemmInputs inputs, std::string& why);

}  // namespace ebb::kernels::cuda
