// See attend_decode.h: KV rows of f32. A file of its own, because it is many kernels.
#include "kernels/cuda/attend_decode.cuh"

namespace ebb::kernels::cuda {

void launch_decode_f32(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args) {
  launch_decode<KvElement::kF32>(context, kind, args);
}

}  // namespace ebb::kernels::cuda
