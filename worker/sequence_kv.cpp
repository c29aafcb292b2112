#include "worker/sequence_kv.h"

#include <algorithm>

namespace ebb::worker {
namespace {

/// Bytes: for some thousand tokens more than there are.
constexpr size_t kMapRoom = 16 << 10;

}  // namespace

SequenceKv::SequenceKv(Arena& arena, kernels::Ops& ops, const models::KvLayout& layout,
                       const kernels::KvShape& shape)
    : arena_(arena), ops_(ops), layout_(layout), shape_(shape), bands_(layout.bands.size()) {
  for (size_t b = 0; b < bands_.size(); ++b) bands_[b].blocks.resize(layout.bands[b].size());
}

SequenceKv::~SequenceKv() {
  for (Band& band : bands_) {
    for (auto& blocks : band.blocks) arena_.free(blocks);
  }
}

void SequenceKv::make_ring(uint32_t kept, uint32_t ring) {
  ring_slots_ = kept + ring;
  for (Band& band : bands_) band.residency.make_ring(kept, ring);
}

/// Slots that `length` positions of a band that is no hot pool take.
uint32_t SequenceKv::slots_for(const Band& band, uint32_t length) const {
  if (band.residency.chosen()) return 0;  // it has them
  return band.residency.ring() ? std::min(length, ring_slots_) : length;
}

Result<void> SequenceKv::grow(Band& band, uint32_t slots) {
  const uint32_t wanted = blocks_for(slots);
  const auto have = static_cast<uint32_t>(band.blocks[0].size());
  if (wanted <= have) return {};
  const uint32_t more = wanted - have;
  // All layers of the band or none.
  std::vector<uint32_t> fresh;
  EBB_TRY_VOID(arena_.allocate(more * static_cast<uint32_t>(band.blocks.size()), fresh));
  auto next = fresh.begin();
  for (auto& blocks : band.blocks) {
    blocks.insert(blocks.end(), next, next + more);
    next += more;
  }
  add_foreign_blocks(static_cast<int64_t>(fresh.size()));
  return {};
}

void SequenceKv::add_foreign_blocks(int64_t blocks) {
  blocks_used_ = static_cast<uint64_t>(static_cast<int64_t>(blocks_used_) + blocks);
  blocks_max_ = std::max(blocks_max_, blocks_used_);
}

Result<void> SequenceKv::extend(uint32_t band, TokenRange range, uint64_t step) {
  EBB_CHECK(!bands_[band].residency.hot());
  EBB_TRY_VOID(grow(bands_[band], slots_for(bands_[band], range.end)));
  for (Position p = range.begin; p < range.end; ++p) {
    EBB_TRY(bands_[band].residency.place(p, step));
  }
  return {};
}

Result<uint32_t> SequenceKv::place(uint32_t band, Position position, uint64_t step) {
  Band& b = bands_[band];
  if (!b.residency.hot()) EBB_TRY_VOID(grow(b, slots_for(b, position + 1)));
  return b.residency.place(position, step);
}

kernels::KvRows SequenceKv::rows(uint32_t layer) const {
  const uint32_t band = layout_.band_of(layer);
  return {arena_.device_base(), bands_[band].blocks[layer - layout_.bands[band].begin]};
}

std::vector<uint32_t> SequenceKv::slots(uint32_t band, std::span<const Position> positions) const {
  std::vector<uint32_t> out;
  out.reserve(positions.size());
  for (Position p : positions) {
    out.push_back(bands_[band].residency.slot(p));
    EBB_CHECK(out.back() != kNoSlot);
  }
  return out;
}

Result<const uint32_t*> SequenceKv::device_map(uint32_t band, kernels::Device& device,
                                               MapChanges& changes) {
  Band& b = bands_[band];
  const std::span<const uint32_t> map = b.residency.map();
  auto given = b.residency.take_given();
  if (!given || b.map.size() < map.size_bytes()) {
    if (b.map.size() < map.size_bytes()) {
      const size_t bytes = map.size_bytes() + map.size_bytes() / 4 + kMapRoom;
      auto grown = device.allocate(bytes, kernels::MemoryKind::kDevice);
      if (!grown) return with_context("the map of a band's rows", std::move(grown).error());
      b.map = *std::move(grown);
    }
    device.copy_to_device(b.map.data(), map.data(), map.size_bytes());
    given.emplace();
  }
  changes.d_map = static_cast<uint32_t*>(b.map.data());
  for (const Position p : *given) changes.slots.push_back(map[p]);
  changes.positions = *std::move(given);
  return static_cast<const uint32_t*>(b.map.data());
}

void SequenceKv::shrink(uint32_t band, uint32_t capacity, std::span<const Position> keep,
                        uint64_t step) {
  Band& b = bands_[band];
  const uint32_t blocks = std::min(blocks_for(capacity), static_cast<uint32_t>(b.blocks[0].size()));
  compact(band, b.residency.shrink(blocks * shape_.block_tokens, keep, step), blocks);
}

void SequenceKv::compact(uint32_t band, const std::vector<BandResidency::Move>& moves,
                         uint32_t blocks) {
  Band& b = bands_[band];
  std::vector<uint32_t> from, to;
  for (const auto& move : moves) {
    from.push_back(move.from);
    to.push_back(move.to);
  }
  for (uint32_t i = 0; i < b.blocks.size(); ++i) {
    if (!moves.empty()) ops_.copy_rows(shape_, rows(layout_.bands[band].begin + i), from, to);
    std::vector<uint32_t> rest(b.blocks[i].begin() + blocks, b.blocks[i].end());
    b.blocks[i].resize(blocks);
    add_foreign_blocks(-static_cast<int64_t>(rest.size()));
    arena_.free(rest);
  }
}

Result<void> SequenceKv::reserve(uint32_t rows) {
  for (Band& band : bands_) {
    if (band.residency.hot() || band.residency.ring() || band.residency.chosen()) continue;
    EBB_TRY_VOID(grow(band, rows));
  }
  return {};
}

uint64_t SequenceKv::keep_chosen(uint32_t rows, std::span<const Position> keep, uint64_t step) {
  uint64_t gone = 0;
  for (uint32_t band = 0; band < bands_.size(); ++band) {
    BandResidency& residency = bands_[band].residency;
    if (residency.chosen()) {
      gone += residency.forget_others(keep);
      continue;
    }
    const uint32_t blocks = blocks_for(rows);
    EBB_CHECK(blocks <= bands_[band].blocks[0].size());
    gone += residency.length() - keep.size();
    compact(band, residency.choose(blocks * shape_.block_tokens, keep, step), blocks);
  }
  return gone;
}

}  // namespace ebb::worker
