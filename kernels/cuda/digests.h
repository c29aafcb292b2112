// Digests of K and sums of K and V: written at append, read by selection. Each enqueues on the
// context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, mean_key.
void mean_key(CudaContext& context, const KvShape& shape, const KvRows& kv,
              std::span<const uint32_t> slots, float* d_center);
/// kernels/ops.h, write_digest; the tokens are first, first + 1, ...
struct DigestWrite {
  std::span<const uint32_t> slots;
  Position first = 0;
  DigestShape digest;
  DigestRows digests;
  const float* d_center = nullptr;
};
void write_digest(CudaContext& context, const KvShape& shape, const KvRows& kv,
                  const DigestWrite& write);
/// kernels/ops.h, add_sums.
void add_sums(CudaContext& context, const KvShape& shape, const KvRows& kv,
              std::span<const uint32_t> slots, Position first, const SumRows& sums);
/// kernels/ops.h, scan_digests.
void scan_digests(CudaContext& context, const KvShape& shape, const DigestShape& digest,
                  std::span<const ScanArgs> items);

}  // namespace ebb::kernels::cuda
