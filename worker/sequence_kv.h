// Keys and values of one sequence as the model sees them: blocks of the arena, per layer, and which
// token's row is in which slot, per band. Knows nothing of stores: release and restore are
// kv_mover's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "models/kv_layout.h"
#include "worker/arena.h"
#include "worker/residency.h"

namespace ebb::worker {

/// Owned by the engine thread; gives its blocks back when destroyed.
class SequenceKv {
 public:
  SequenceKv(Arena& arena, kernels::Ops& ops, const models::KvLayout& layout,
             const kernels::KvShape& shape);
  ~SequenceKv();
  SequenceKv(const SequenceKv&) = delete;
  SequenceKv& operator=(const SequenceKv&) = delete;

  /// Before the first position: every band is a ring (residency.h).
  void make_ring(uint32_t kept, uint32_t ring);

  uint32_t band_count() const { return static_cast<uint32_t>(bands_.size()); }
  LayerRange layers(uint32_t band) const { return layout_.bands[band]; }
  BandResidency& residency(uint32_t band) { return bands_[band].residency; }
  const BandResidency& residency(uint32_t band) const { return bands_[band].residency; }

  /// Slots for positions [range) of one band that is `all`: grows its blocks. Errors: kExhausted.
  Result<void> extend(uint32_t band, TokenRange range, uint64_t step);
  /// A slot for one new position (any residency).
  Result<uint32_t> place(uint32_t band, Position position, uint64_t step);

  kernels::KvRows rows(uint32_t layer) const;
  /// Slots of positions that are all on the device.
  std::vector<uint32_t> slots(uint32_t band, std::span<const Position> positions) const;

  /// What the copy of a band's map on the device does not say yet.
  struct MapChanges {
    uint32_t* d_map = nullptr;
    std::vector<Position> positions;
    std::vector<uint32_t> slots;
  };
  /// The copy of residency(band).map() in device memory, right once `changes` are made in it
  /// (Ops::update_maps); where there was none it is made, or made anew. Errors: kExhausted.
  Result<const uint32_t*> device_map(uint32_t band, kernels::Device& device, MapChanges& changes);

  /// Turns a band into a hot pool: keeps `keep`, moves their rows together, frees the other blocks.
  /// `capacity` is in rows and is rounded up to whole blocks. Rows that are not kept must be in the
  /// store.
  void shrink(uint32_t band, uint32_t capacity, std::span<const Position> keep, uint64_t step);

  /// Blocks for `rows` rows of every band that is `all`. Errors: kExhausted.
  Result<void> reserve(uint32_t rows);
  /// Only the rows of `keep` stay, in every band, in a pool of `rows` rows for which there are
  /// blocks; the others are gone. Returns how many went, over all bands.
  uint64_t keep_chosen(uint32_t rows, std::span<const Position> keep, uint64_t step);

  uint64_t blocks_used() const { return blocks_used_; }
  uint64_t blocks_max() const { return blocks_max_; }
  void add_foreign_blocks(int64_t blocks);  ///< counts kept activations in

 private:
  struct Band {
    BandResidency residency;
    std::vector<std::vector<uint32_t>> blocks;  ///< by layer of the band
    kernels::Buffer map;                        ///< for device_map()
  };
  uint32_t slots_for(const Band& band, uint32_t length) const;
  Result<void> grow(Band& band, uint32_t slots);
  /// Carries out a residency's moves, then gives all blocks of the band but the first ones back.
  void compact(uint32_t band, const std::vector<BandResidency::Move>& moves, uint32_t blocks);
  uint32_t blocks_for(uint32_t rows) const {
    return (rows + shape_.block_tokens - 1) / shape_.block_tokens;
  }
  Arena& arena_;
  kernels::Ops& ops_;
  const models::KvLayout& layout_;
  kernels::KvShape shape_;
  std::vector<Band> bands_;
  uint32_t ring_slots_ = 0;
  uint64_t blocks_used_ = 0;
  uint64_t blocks_max_ = 0;
};

}  // namespace ebb::worker
