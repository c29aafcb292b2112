#include "models/tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "base/check.h"

namespace ebb::models {
namespace {

constexpr uint64_t pair_key(TokenId left, TokenId right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kNever = UINT32_MAX;

Merge merge_of(const MergeTable& table, TokenId left, TokenId right) {
  const Merge* merge = table.find(left, right);
  return merge == nullptr ? Merge{kNever, -1} : *merge;
}

/// Most pieces are words: looking through all pairs again after each merge is cheaper than any
/// bookkeeping.
constexpr size_t kShortMax = 32;

void encode_short(const MergeTable& table, std::span<const TokenId> symbols,
                  std::vector<TokenId>& out) {
  std::array<TokenId, kShortMax> tokens;
  std::array<Merge, kShortMax> merges;  // of each token with the next
  size_t count = symbols.size();
  std::copy(symbols.begin(), symbols.end(), tokens.begin());
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(table, tokens[i], tokens[i + 1]);
  for (;;) {
    size_t best = 0;
    uint32_t rank = kNever;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (merges[i].rank < rank) rank = merges[best = i].rank;
    }
    if (rank == kNever) break;
    tokens[best] = merges[best].token;
    --count;
    for (size_t i = best + 1; i < count; ++i) tokens[i] = tokens[i + 1];
    for (size_t i = best; i + 1 < count; ++i) merges[i] = merges[i + 1];
    if (best + 1 < count) merges[best] = merge_of(table, tokens[best], tokens[best + 1]);
    if (best > 0) merges[best - 1] = merge_of(table, tokens[best - 1], tokens[best]);
  }
  out.insert(out.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
}

/// The symbols are a doubly linked list. A candidate is "rank, place of the left symbol" in one
/// number, so that the least of them is the next to merge; it is stale once the pair at its place
/// has another rank.
class Merging {
 public:
  Merging(const MergeTable& table, std::span<const TokenId> tokens, BpeScratch& scratch)
      : table_(table), symbols_(scratch.symbols), candidates_(scratch.candidates) {
    const auto count = static_cast<uint32_t>(tokens.size());
    symbols_.resize(count);
    candidates_.clear();
    for (uint32_t i = 0; i < count; ++i) {
      symbols_[i] = {tokens[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1, {}};
    }
    for (uint32_t i = 0; i < count; ++i) {
      if (note(i)) candidates_.push_back(candidate(i));
    }
    std::make_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }

  void run() {
    while (!candidates_.empty()) {
      std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
      const uint64_t best = candidates_.back();
      candidates_.pop_back();
      const auto left = static_cast<uint32_t>(best);
      if (symbols_[left].with_next.rank == static_cast<uint32_t>(best >> 32)) apply(left);
    }
  }

  void append_to(std::vector<TokenId>& out) const {
    for (uint32_t i = 0; i != kNone; i = symbols_[i].next) out.push_back(symbols_[i].token);
  }

 private:
  uint64_t candidate(uint32_t left) const {
    return (uint64_t{symbols_[left].with_next.rank} << 32) | left;
  }

  /// True when the symbol may merge with the next one.
  bool note(uint32_t left) {
    BpeScratch::Symbol& symbol = symbols_[left];
    symbol.with_next = symbol.next == kNone
                           ? Merge{kNever, -1}
                           : merge_of(table_, symbol.token, symbols_[symbol.next].token);
    return symbol.with_next.rank != kNever;
  }

  void consider(uint32_t left) {
    if (!note(left)) return;
    candidates_.push_back(candidate(left));
    std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }

  void apply(uint32_t at) {
    BpeScratch::Symbol& left = symbols_[at];
    BpeScratch::Symbol& right = symbols_[left.next];
    left.token = left.with_next.token;
    left.next = right.next;
    right.with_next.rank = kNever;
    if (left.next != kNone) symbols_[left.next].previous = at;
    consider(at);
    if (left.previous != kNone) consider(left.previous);
  }

  const MergeTable& table_;
  std::vector<BpeScratch::Symbol>& symbols_;
  std::vector<uint64_t>& candidates_;
};

}  // namespace

MergeTable::MergeTable(size_t merges)
    : entries_(std::bit_ceil(std::max<size_t>(2 * merges, 2))),
      mask_(entries_.size() - 1),
      left_(merges) {}

size_t MergeTable::slot_of(uint64_t pair) const {
  size_t slot = hash_(pair) & mask_;
  while (entries_[slot].pair != pair && entries_[slot].pair != kNoPair) slot = (slot + 1) & mask_;
  return slot;
}

bool MergeTable::add(TokenId left, TokenId right, Merge merge) {
  const uint64_t pair = pair_key(left, right);
  Entry& entry = entries_[slot_of(pair)];
  if (entry.pair == pair) return false;
  EBB_CHECK(left_ > 0);
  --left_;
  entry = {pair, merge};
  return true;
}

const Merge* MergeTable::find(TokenId left, TokenId right) const {
  const Entry& entry = entries_[slot_of(pair_key(left, right))];
  return entry.pair == kNoPair ? nullptr : &entry.merge;
}

void bpe_encode(const MergeTable& table, std::span<const TokenId> symbols, BpeScratch& scratch,
                std::vector<TokenId>& out) {
  if (symbols.size() < 2) {
    out.insert(out.end(), symbols.begin(), symbols.end());
  } else if (symbols.size() <= kShortMax) {
    encode_short(table, symbols, out);
  } else {
    Merging merging(table, symbols, scratch);
    merging.run();
    merging.append_to(out);
  }
}

}  // namespace ebb::models
