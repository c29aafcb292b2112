// Attention of many query rows of one sequence, dense and causal, as tiles on tensor cores: for
// bulk passes.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// An item without a list over rows of bf16 (takes_tiles). Its logits are not written.
void attend_tiles(CudaContext& context, const KvShape& shape, const AttendArgs& item);

}  // namespace ebb::kernels::cuda
