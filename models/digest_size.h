// What digests and sums take in a block of the device arena: what the kernels' shapes say
// (kernels/digest.h, kernels/ops.h; a test compares them), for those who plan with bytes and know
// no tensors.
#pragma once

#include <cstdint>

#include "models/kv_layout.h"

namespace ebb::models {

/// Tokens whose digests, of `bits` bits an element, one block holds. The same on every rank: blocks
/// and digests both grow with the rank's KV heads. 0: none fits.
constexpr uint32_t digests_in_block(uint32_t bits, uint32_t head_size, KvType type,
                                    uint32_t granule_tokens) {
  const uint32_t digest = 4 + (head_size + 31) / 32 * 4 * bits;
  return granule_tokens * 2 * head_size * kv_type_bytes(type) / digest;
}

/// Tokens of one run of sums.
constexpr uint32_t kSumRunTokens = 64;

/// Tokens whose sums, f32 of K and V for every run, one block holds. 0: no run fits.
constexpr uint32_t sum_tokens_in_block(KvType type, uint32_t granule_tokens) {
  return granule_tokens * kv_type_bytes(type) / 4 * kSumRunTokens;
}

}  // namespace ebb::models
