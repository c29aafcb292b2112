// In place of nccl_library.cu, where the build has no nccl.h.
#include "kernels/cuda/nccl_calls.h"

namespace ebb::kernels::cuda {

Result<std::unique_ptr<NcclCalls>> load_nccl() {
  return unsupported("NCCL: this build was made without its header nccl.h");
}

}  // namespace ebb::kernels::cuda
