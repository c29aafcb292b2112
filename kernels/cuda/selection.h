// From logits to scores; top_k.h chooses among them. Each enqueues on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/top_k.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, score_max.
void score_max(CudaContext& context, const float* d_logits, const float* d_lse, uint32_t heads_q,
               uint32_t count, float* d_scores);
/// kernels/ops.h, scale_scores.
void scale_scores(CudaContext& context, float* d_scores, std::span<const Position> positions,
                  float factor);

}  // namespace ebb::kernels::cuda
