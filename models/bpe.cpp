#include "models/bpe.h"

#include <queue>

namespace ebb::models {
namespace {

constexpr uint64_t pair_key(TokenId left, TokenId right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

constexpr uint32_t kNone = UINT32_MAX;

/// A node of the doubly linked list of symbols. A symbol that was merged into its left neighbour
/// has token -1.
struct Symbol {
  TokenId token = -1;
  uint32_t previous = kNone;
  uint32_t next = kNone;
};

/// "The symbols at `left` and after it were `left_token`, `right_token`, and may merge." Stale once
/// one changed.
struct Candidate {
  uint32_t rank = 0;
  uint32_t left = 0;
  TokenId left_token = -1;
  TokenId right_token = -1;
  TokenId merged = -1;
};

struct MergesLater {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

class Merging {
 public:
  Merging(const MergeTable& table, std::string_view piece) : table_(table) {
    symbols_.reserve(piece.size());
    for (char c : piece) {
      const TokenId token = table.token_of_byte[static_cast<unsigned char>(c)];
      if (token < 0) continue;
      const auto index = static_cast<uint32_t>(symbols_.size());
      symbols_.push_back({token, index == 0 ? kNone : index - 1, kNone});
      if (index > 0) symbols_[index - 1].next = index;
    }
    for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) consider(i);
  }

  void run() {
    while (!candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      if (is_current(best)) apply(best);
    }
  }

  void append_to(std::vector<TokenId>& out) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.token >= 0) out.push_back(symbol.token);
    }
  }

 private:
  void consider(uint32_t left) {
    const uint32_t right = symbols_[left].next;
    if (right == kNone) return;
    const Merge* merge = table_.find(symbols_[left].token, symbols_[right].token);
    if (merge == nullptr) return;
    candidates_.push(
        {merge->rank, left, symbols_[left].token, symbols_[right].token, merge->token});
  }

  bool is_current(const Candidate& c) const {
    const Symbol& left = symbols_[c.left];
    return left.token == c.left_token && left.next != kNone &&
           symbols_[left.next].token == c.right_token;
  }

  void apply(const Candidate& c) {
    Symbol& left = symbols_[c.left];
    Symbol& right = symbols_[left.next];
    left.token = c.merged;
    left.next = right.next;
    right.token = -1;
    if (left.next != kNone) symbols_[left.next].previous = c.left;
    consider(c.left);
    if (left.previous != kNone) consider(left.previous);
  }

  const MergeTable& table_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, MergesLater> candidates_;
};

}  // namespace

bool MergeTable::add(TokenId left, TokenId right, Merge merge) {
  return merges_.try_emplace(pair_key(left, right), merge).second;
}

const Merge* MergeTable::find(TokenId left, TokenId right) const {
  const auto it = merges_.find(pair_key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void bpe_encode(const MergeTable& table, std::string_view piece, std::vector<TokenId>& out) {
  Merging merging(table, piece);
  merging.run();
  merging.append_to(out);
}

}  // namespace ebb::models
