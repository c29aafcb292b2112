// Where the row of a slot lies. Shared by everything that touches the arena.
#pragma once

#include <bit>

#include "base/check.h"
#include "kernels/ops.h"

namespace ebb::kernels::cpu {

/// Address arithmetic of one (shape, rows) pair. A slot beyond the block table is a broken
/// invariant.
class KvAccess {
 public:
  KvAccess(const KvShape& shape, const KvRows& kv)
      : arena_(kv.d_arena),
        blocks_(kv.blocks),
        block_tokens_(shape.block_tokens),
        shift_(std::has_single_bit(shape.block_tokens) ? std::countr_zero(shape.block_tokens) : -1),
        row_bytes_(shape.row_bytes()),
        block_bytes_(shape.block_bytes()) {
    EBB_CHECK(block_tokens_ > 0);
  }

  std::byte* row(uint32_t slot) const {
    // A division costs as much as half a row's arithmetic; blocks are nearly always powers of two.
    const uint32_t block = shift_ >= 0 ? slot >> shift_ : slot / block_tokens_;
    EBB_CHECK(block < blocks_.size());
    return arena_ + blocks_[block] * block_bytes_ +
           uint64_t{slot - block * block_tokens_} * row_bytes_;
  }

 private:
  std::byte* arena_;
  std::span<const uint32_t> blocks_;
  uint32_t block_tokens_;
  int shift_;
  uint64_t row_bytes_;
  uint64_t block_bytes_;
};

}  // namespace ebb::kernels::cpu
