// KV rows into the arena and within it, on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, append_kv: one launch.
void append_kv(CudaContext& context, const KvShape& shape, std::span<const AppendArgs> items);
/// kernels/ops.h, copy_rows.
void copy_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
               std::span<const uint32_t> from, std::span<const uint32_t> to);

}  // namespace ebb::kernels::cuda
