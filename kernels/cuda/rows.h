// KV rows into the arena, out of it, and within it. Each enqueues on the context's stream;
// gather_rows waits for it.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

struct NewRows {
  const float* d_k = nullptr;
  uint64_t k_stride = 0;
  const float* d_v = nullptr;
  uint64_t v_stride = 0;
};
/// kernels/ops.h, append_kv.
void append_kv(CudaContext& context, const KvShape& shape, const KvRows& kv, const NewRows& rows,
               std::span<const uint32_t> slots);
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
