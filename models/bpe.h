// Byte-pair encoding of one piece: the symbols of its bytes, merged by rank until nothing merges.
// Must not know where pieces come from, nor about special tokens.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace ebb::models {

/// What a pair of neighbours becomes. A lower rank merges first.
struct Merge {
  uint32_t rank = 0;
  TokenId token = -1;
};

class MergeTable {
 public:
  /// The token of one byte; -1: the vocabulary has none, and the byte vanishes (as in the reference
  /// implementation: vocabularies leave out bytes that UTF-8 never uses).
  std::array<TokenId, 256> token_of_byte{};

  /// False when the pair has a merge already.
  bool add(TokenId left, TokenId right, Merge merge);
  /// Null: these two never merge.
  const Merge* find(TokenId left, TokenId right) const;

 private:
  std::unordered_map<uint64_t, Merge> merges_;
};

/// Appends the tokens of `piece`. Of all pairs of neighbours the one with the lowest rank merges,
/// the leftmost of equals, until none is left (Sennrich et al., arXiv:1508.07909, section 3.2). O(n
/// log n).
void bpe_encode(const MergeTable& table, std::string_view piece, std::vector<TokenId>& out);

}  // namespace ebb::models
