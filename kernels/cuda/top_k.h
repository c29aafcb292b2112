// The best k of rows of scores, without sorting them: the k-th best score is found by its bits,
// from the highest down, by counting; then what is better is collected, and only that is ordered.
// (Radix select over many blocks: arXiv:2306.04471 has the idea.)
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Row: the best min(k, end - begin) of entries [begin, end), best first (kernels/ops.h, top_k).
struct TopKRow {
  const float* d_scores = nullptr;  ///< [>= end]
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t k = 0;
  Scored* d_out = nullptr;  ///< [min(k, end - begin)]
};

/// Rows of device memory, read when the kernels run: a captured graph follows what stands there. No
/// row has more than `length_max` entries or a k above `k_max`, which size the launches and the
/// scratch; for the rest rows are as long as they like.
struct TopKRows {
  const TopKRow* d_rows = nullptr;
  uint32_t rows = 0;
  uint32_t length_max = 0;
  uint32_t k_max = 0;
};
/// Enqueues; waits for nothing. At most 65535 rows. Bits depend on the rows alone. Ordering costs
/// min(k, length)^2 comparisons: meant for k up to some thousands.
void top_k_rows(CudaContext& context, const TopKRows& rows);

/// kernels/ops.h, top_k: enqueues all items together, and waits for them.
std::vector<std::vector<Scored>> top_k(CudaContext& context, std::span<const TopKArgs> items);

}  // namespace ebb::kernels::cuda
