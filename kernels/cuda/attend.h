// Attention over KV rows in pages or by lists, the merge of partial states, and the left-out
// estimate. Each enqueues on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, attend.
void attend(CudaContext& context, const KvShape& shape, std::span<const AttendArgs> items);
/// kernels/ops.h, merge_states.
void merge_states(CudaContext& context, float* d_out_a, float* d_lse_a, const float* d_out_b,
                  const float* d_lse_b, uint32_t rows, uint32_t heads, uint32_t head_size);
/// kernels/ops.h, attend_left_out.
void attend_left_out(CudaContext& context, const KvShape& shape,
                     std::span<const LeftOutArgs> items);

}  // namespace ebb::kernels::cuda
