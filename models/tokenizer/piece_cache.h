// Remembers the tokens of the pieces of one text: long texts repeat their words. It lives as long
// as one encode(), so that the tokenizer itself stays immutable and no thread waits for another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "models/seeded_hash.h"

namespace ebb::models {

class PieceCache {
 public:
  struct Hit {
    const TokenId* tokens = nullptr;  ///< null: not seen
    size_t count = 0;
  };
  /// A place in the table, for remember(): valid until the next call of that.
  struct Slot {
    uint64_t hash = 0;
    size_t index = 0;
  };

  static bool takes(std::string_view piece) { return piece.size() <= kPieceBytesMax; }
  /// `piece` must be one that takes() takes; here and below it must outlive the cache.
  Hit find(std::string_view piece, Slot& slot) const;
  void remember(std::string_view piece, const Slot& slot, std::span<const TokenId> tokens);

 private:
  static constexpr size_t kPieceBytesMax = 64;
  static constexpr size_t kPiecesMax = 1 << 16;
  static constexpr size_t kSlotsFirst = 256;

  struct Entry {
    uint64_t hash = 0;
    const char* piece = nullptr;  ///< null: free
    uint32_t size = 0;
    uint32_t count = 0;
    size_t begin = 0;  ///< in tokens_
  };
  void grow();

  std::vector<Entry> entries_ = std::vector<Entry>(kSlotsFirst);
  size_t pieces_ = 0;
  std::vector<TokenId> tokens_;
  SeededHash hash_;
};

}  // namespace ebb::models
