// See attend_decode.h: KV rows of bfloat16. A file of its own, because it is many kernels.
#include "kernels/cuda/attend_decode.cuh"

namespace ebb::kernels::cuda {

void launch_decode_bf16(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args) {
  launch_decode<KvElement::kBF16>(context, kind, args);
}

}  // namespace ebb::kernels::cuda
