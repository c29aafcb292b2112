// KV rows into the arena, out of it, and within it. Each enqueues on the context's stream;
// gather_rows waits for it.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, append_kv: one launch.
void append_kv(CudaContext& context, const KvShape& shape, std::span<const AppendArgs> items);
/// kernels/ops.h, gather_rows.
void gather_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
                 std::span<const uint32_t> slots, std::byte* host, uint64_t host_stride);
/// kernels/ops.h, scatter_rows.
void scatter_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
                  std::span<const uint32_t> slots, const std::byte* host, uint64_t host_stride);
/// kernels/ops.h, copy_rows.
void copy_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
               std::span<const uint32_t> from, std::span<const uint32_t> to);

}  // namespace ebb::kernels::cuda
