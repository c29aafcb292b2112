// Byte-pair encoding of one piece: its symbols, merged by rank until nothing merges.
// Must not know where pieces come from, nor what symbols stand for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "models/seeded_hash.h"

namespace ebb::models {

/// What a pair of neighbours becomes. A lower rank merges first.
struct Merge {
  uint32_t rank = 0;
  TokenId token = -1;
};

/// Open addressing: one cache line for most look-ups, of which there are several for each byte of
/// text. Immutable after the last add(): find() any thread.
class MergeTable {
 public:
  explicit MergeTable(size_t merges = 0);
  /// False when the pair has a merge already. At most as many as the constructor was told.
  bool add(TokenId left, TokenId right, Merge merge);
  /// Null: these two never merge.
  const Merge* find(TokenId left, TokenId right) const;

 private:
  struct Entry {
    uint64_t pair = kNoPair;
    Merge merge;
  };
  static constexpr uint64_t kNoPair = UINT64_MAX;
  size_t slot_of(uint64_t pair) const;

  std::vector<Entry> entries_;  ///< a power of two of them, half of them free at least
  size_t mask_ = 0;
  size_t left_ = 0;  ///< how many may still be added
  SeededHash hash_;
};

/// Memory that calls of bpe_encode() share, so that they need not ask for it. For one thread.
struct BpeScratch {
  struct Symbol {
    TokenId token = -1;
    uint32_t previous = 0;
    uint32_t next = 0;
    Merge with_next;  ///< rank kNever: does not merge
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> candidates;
};

/// Appends what becomes of `symbols`. Of all pairs of neighbours the one with the lowest rank
/// merges, the leftmost of equals, until none is left (Sennrich et al., arXiv:1508.07909, section
/// 3.2). O(n log n).
void bpe_encode(const MergeTable& table, std::span<const TokenId> symbols, BpeScratch& scratch,
                std::vector<TokenId>& out);

}  // namespace ebb::models
