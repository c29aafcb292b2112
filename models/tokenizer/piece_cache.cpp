#include "models/tokenizer/piece_cache.h"

#include <cstring>

namespace ebb::models {

PieceCache::Hit PieceCache::find(std::string_view piece, Slot& slot) const {
  const size_t mask = entries_.size() - 1;
  slot.hash = hash_(piece);
  for (slot.index = slot.hash & mask;; slot.index = (slot.index + 1) & mask) {
    const Entry& entry = entries_[slot.index];
    if (entry.piece == nullptr) return {};
    const bool same = entry.hash == slot.hash && entry.size == piece.size() &&
                      std::memcmp(entry.piece, piece.data(), piece.size()) == 0;
    if (same) return {tokens_.data() + entry.begin, entry.count};
  }
}

void PieceCache::remember(std::string_view piece, const Slot& slot,
                          std::span<const TokenId> tokens) {
  if (pieces_ >= kPiecesMax) return;
  entries_[slot.index] = {slot.hash, piece.data(), static_cast<uint32_t>(piece.size()),
                          static_cast<uint32_t>(tokens.size()), tokens_.size()};
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  if (++pieces_ * 2 > entries_.size()) grow();
}

void PieceCache::grow() {
  std::vector<Entry> old(entries_.size() * 2);
  old.swap(entries_);
  const size_t mask = entries_.size() - 1;
  for (const Entry& entry : old) {
    if (entry.piece == nullptr) continue;
    size_t index = entry.hash & mask;
    while (entries_[index].piece != nullptr) index = (index + 1) & mask;
    entries_[index] = entry;
  }
}

}  // namespace ebb::models
