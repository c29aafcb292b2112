// Digests of K and sums of K and V: written at append, read by selection. Each enqueues on the
// context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, mean_key.
void mean_key(CudaContext& context, const KvShape& shape, const KvRows& kv,
              std::span<const uint32_t> slots, float* d_center);
/// kernels/ops.h, write_digest.
void write_digest(CudaContext& context, const KvShape& shape, const DigestShape& digest,
                  std::span<const DigestArgs> items);
/// kernels/ops.h, add_sums.
void add_sums(CudaContext& context, const KvShape& shape, std::span<const SumArgs> items);
/// kernels/ops.h, scan_digests.
void scan_digests(CudaContext& context, const KvShape& shape, const DigestShape& digest,
                  std::span<const ScanArgs> items);

}  // namespace ebb::kernels::cuda
