// The address of an entry of a paged array (digests, sums): kernels/ops.h, DigestRows and SumRows.
#pragma once

#include "base/check.h"
#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Entry i lies in page i / page_entries, at i % page_entries of it. By value: passed to kernels.
struct PageMap {
  std::byte* arena = nullptr;
  const uint32_t* blocks = nullptr;  ///< device memory
  uint64_t block_bytes = 0;
  uint32_t entry_bytes = 0;
  uint32_t page_entries = 1;

  __device__ __forceinline__ std::byte* entry(uint32_t index) const {
    return arena + blocks[index / page_entries] * block_bytes +
           uint64_t{index % page_entries} * entry_bytes;
  }
};

/// Pages for entries [0, count). A block too small for one, or too few of them, is a broken
/// invariant. `d_blocks` is the device's copy of `blocks`.
template <class Rows>
PageMap page_map(const KvShape& shape, const Rows& rows, const uint32_t* d_blocks,
                 uint32_t entry_bytes, uint64_t count) {
  const uint64_t page_entries = shape.block_bytes() / entry_bytes;
  EBB_CHECK(page_entries > 0 && count <= page_entries * rows.blocks.size());
  return {rows.d_arena, d_blocks, shape.block_bytes(), entry_bytes,
          static_cast<uint32_t>(page_entries)};
}

}  // namespace ebb::kernels::cuda
