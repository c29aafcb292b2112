#include "worker/kept_activations.h"

#include <algorithm>

namespace ebb::worker {

KeptActivations::KeptActivations(Arena& arena, kernels::Device& device, HeadRange heads,
                                 uint32_t heads_all, uint32_t row_bytes)
    : arena_(arena),
      device_(device),
      heads_(heads),
      heads_all_(heads_all),
      row_bytes_(row_bytes),
      zeros_(row_bytes) {}

KeptActivations::~KeptActivations() { clear(); }

void KeptActivations::clear() { arena_.free(blocks_); }

bool KeptActivations::mine(Position p) const {
  const uint32_t h = p % heads_all_;
  return h >= heads_.begin && h < heads_.end;
}

uint64_t KeptActivations::index_of(Position p) const {
  return uint64_t{p / heads_all_} * heads_.size() + (p % heads_all_ - heads_.begin);
}

Result<void> KeptActivations::reserve(uint32_t end) {
  const uint32_t rest = std::clamp(end % heads_all_, uint32_t{heads_.begin}, uint32_t{heads_.end});
  const uint64_t rows = uint64_t{end / heads_all_} * heads_.size() + (rest - heads_.begin);
  const uint64_t wanted = (rows * row_bytes_ + arena_.block_bytes() - 1) / arena_.block_bytes();
  if (wanted <= blocks_.size()) return {};
  return arena_.allocate(static_cast<uint32_t>(wanted - blocks_.size()), blocks_);
}

void KeptActivations::copy(Position p, std::byte* d_row, Direction direction) {
  // A row may run over block borders: the blocks are one linear space.
  uint64_t offset = index_of(p) * row_bytes_;
  for (uint64_t left = row_bytes_; left > 0;) {
    const uint64_t in_block = offset % arena_.block_bytes();
    const uint64_t piece = std::min(left, arena_.block_bytes() - in_block);
    std::byte* d_kept = arena_.device_base() +
                        uint64_t{blocks_[offset / arena_.block_bytes()]} * arena_.block_bytes() +
                        in_block;
    if (direction == Direction::kToArena) {
      device_.copy_on_device(d_kept, d_row, piece);
    } else {
      device_.copy_on_device(d_row, d_kept, piece);
    }
    d_row += piece;
    offset += piece;
    left -= piece;
  }
}

void KeptActivations::save(TokenRange range, const float* d_rows) {
  auto* row = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(d_rows));
  for (Position p = range.begin; p < range.end; ++p, row += row_bytes_) {
    if (mine(p)) copy(p, row, Direction::kToArena);
  }
}

void KeptActivations::load(TokenRange range, float* d_rows) {
  auto* row = reinterpret_cast<std::byte*>(d_rows);
  for (Position p = range.begin; p < range.end; ++p, row += row_bytes_) {
    if (mine(p)) {
      copy(p, row, Direction::kFromArena);
    } else {
      device_.copy_to_device(row, zeros_.data(), row_bytes_);
    }
  }
}

}  // namespace ebb::worker
