// From logits to the chosen tokens. Each enqueues on the context's stream; top_k waits for it.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, score_max.
void score_max(CudaContext& context, const float* d_logits, const float* d_lse, uint32_t heads_q,
               uint32_t count, float* d_scores);
/// kernels/ops.h, top_k.
std::vector<Scored> top_k(CudaContext& context, const float* d_scores, uint32_t begin, uint32_t end,
                          uint32_t k);
/// kernels/ops.h, scale_scores.
void scale_scores(CudaContext& context, float* d_scores, std::span<const Position> positions,
                  float factor);

}  // namespace ebb::kernels::cuda
