// Where the entries of a paged array lie: digests and sums, as many to an arena block as fit whole.
#pragma once

#include "base/check.h"
#include "kernels/ops.h"

namespace ebb::kernels::cpu {

/// A block too small for one entry, or an entry beyond the block table, is a broken invariant.
class PageAccess {
 public:
  PageAccess(const KvShape& shape, const DigestShape& digest, const DigestRows& rows)
      : PageAccess(shape, rows.d_arena, rows.blocks, digest.token_bytes()) {
    EBB_CHECK(digest.heads_kv == shape.heads_kv && digest.head_size == shape.head_size);
  }
  PageAccess(const KvShape& shape, const SumRows& rows)
      : PageAccess(shape, rows.d_arena, rows.blocks, SumRows::run_bytes(shape)) {}

  std::byte* entry(uint32_t index) const {
    const uint32_t page = index / page_entries_;
    EBB_CHECK(page < blocks_.size());
    return arena_ + blocks_[page] * block_bytes_ +
           uint64_t{index - page * page_entries_} * entry_bytes_;
  }

  /// Addresses of entries [first, first + count): one division for each page.
  void resolve(uint32_t first, uint32_t count, const std::byte** addresses) const {
    while (count > 0) {
      const uint32_t left = page_entries_ - first % page_entries_;
      const uint32_t here = left < count ? left : count;
      const std::byte* from = entry(first);
      for (uint32_t i = 0; i < here; ++i, from += entry_bytes_) *addresses++ = from;
      first += here;
      count -= here;
    }
  }

 private:
  PageAccess(const KvShape& shape, std::byte* arena, std::span<const uint32_t> blocks,
             uint32_t entry_bytes)
      : arena_(arena),
        blocks_(blocks),
        block_bytes_(shape.block_bytes()),
        entry_bytes_(entry_bytes),
        page_entries_(static_cast<uint32_t>(block_bytes_ / entry_bytes)) {
    EBB_CHECK(page_entries_ > 0);
  }

  std::byte* arena_;
  std::span<const uint32_t> blocks_;
  uint64_t block_bytes_;
  uint32_t entry_bytes_;
  uint32_t page_entries_;
};

}  // namespace ebb::kernels::cpu
