#include "coordinator/admission.h"

#include <algorithm>

#include "base/check.h"
#include "base/units.h"
#include "models/layer_budgets.h"

namespace ebb::coordinator {
namespace {

/// Tokens are dealt to ranks by the heads that they keep, as the arena is; where they do not come
/// out even, a rank has one more for each of its heads. Counting up to a multiple of the heads
/// covers the fullest rank.
uint64_t activation_blocks(const ArenaModel& arena, uint32_t tokens) {
  const uint64_t heads = arena.kept_heads;
  const uint64_t dealt = (tokens + heads - 1) / heads * heads;
  const uint64_t bytes = dealt * arena.width * sizeof(float);
  return (bytes + arena.block_bytes - 1) / arena.block_bytes;
}

Error never_fits(const ArenaModel& arena, const SequenceSize& size, uint64_t blocks) {
  return invalid("prompt + max_tokens: " + std::to_string(size.total_tokens) +
                 " tokens need at least " + format_bytes(blocks * arena.block_bytes) +
                 " of device KV under this policy; device_kv_size gives " +
                 format_bytes(arena.blocks * arena.block_bytes));
}

/// With all layers' rows on the device, as many as the policy keeps.
Placement resident_placement(const ArenaModel& arena, const SequenceSize& size) {
  if (size.pool_tokens == 0) {
    const uint64_t all = all_resident_blocks(arena, size);
    return {Residency::kAll, all, all};
  }
  const uint64_t pool = arena.blocks_of(std::min(size.pool_tokens, size.total_tokens));
  const uint64_t peak = std::max(arena.blocks_of(size.bulk_tokens), pool);
  return {Residency::kAll, arena.layers() * peak, arena.layers() * pool};
}

}  // namespace

Result<ArenaModel> make_arena_model(const models::KvLayout& layout,
                                    const models::SelectionProfile& profile,
                                    uint64_t device_kv_bytes, uint32_t width) {
  ArenaModel arena;
  for (const LayerRange& band : layout.bands) {
    const bool follower = profile.layer_class(band.begin) == models::LayerClass::kFollower;
    arena.bands.push_back({band, follower});
  }
  EBB_CHECK(!arena.bands.empty());
  arena.granule_tokens = layout.granule_tokens;
  arena.block_bytes = uint64_t{layout.granule_tokens} * layout.row_bytes_all();
  arena.blocks = device_kv_bytes / arena.block_bytes;
  arena.width = width;
  arena.kept_heads = layout.kept_heads();
  if (arena.blocks < arena.layers()) {
    return invalid("device_kv_size: " + format_bytes(device_kv_bytes) + " is less than " +
                   format_bytes(arena.layers() * arena.block_bytes) + ", one block of each layer");
  }
  return arena;
}

bool may_be_hot(const ArenaModel::Band& band, const SequenceSize& size) {
  return size.hot_from > 0 ? band.layers.begin >= size.hot_from : band.follower;
}

uint64_t aids_blocks(const SequenceSize& size, uint64_t tokens) {
  const auto blocks = [&](uint64_t per_block) { return (tokens + per_block - 1) / per_block; };
  return size.digest_layers * blocks(size.block_digests) +
         size.sum_layers * blocks(size.block_sum_tokens);
}

uint64_t all_resident_blocks(const ArenaModel& arena, const SequenceSize& size) {
  const uint32_t kept =
      size.kept_tokens > 0 ? std::min(size.kept_tokens, size.total_tokens) : size.total_tokens;
  return arena.layers() * arena.blocks_of(kept) + aids_blocks(size, size.total_tokens);
}

uint64_t hot_pool_blocks(const ArenaModel& arena, const SequenceSize& size, LayerRange band) {
  const uint32_t hot = models::band_hot_tokens(size.hot_tokens, size.budget, arena.granule_tokens,
                                               size.layer_budgets, band);
  const uint64_t rows = uint64_t{hot} + 2 * uint64_t{arena.granule_tokens};
  return std::min(arena.blocks_of(rows), arena.blocks_of(size.total_tokens));
}

uint64_t hot_decode_blocks(const ArenaModel& arena, const SequenceSize& size) {
  uint64_t blocks = aids_blocks(size, size.total_tokens);
  for (const auto& band : arena.bands) {
    const bool hot = may_be_hot(band, size);
    blocks += band.layers.size() * (hot ? hot_pool_blocks(arena, size, band.layers)
                                        : arena.blocks_of(size.total_tokens));
  }
  return blocks;
}

uint64_t hot_peak_blocks(const ArenaModel& arena, const SequenceSize& size) {
  const uint64_t all = arena.blocks_of(size.bulk_tokens);
  uint64_t finished =
      activation_blocks(arena, size.bulk_tokens) + aids_blocks(size, size.bulk_tokens);
  uint64_t peak = 0;
  for (const auto& band : arena.bands) {
    peak = std::max(peak, finished + band.layers.size() * all);
    const uint64_t pool = hot_pool_blocks(arena, size, band.layers);
    finished += band.layers.size() * (may_be_hot(band, size) ? std::min(pool, all) : all);
  }
  return peak;
}

bool release_helps(const ArenaModel& arena, const SequenceSize& size) {
  return size.hot_tokens > 0 && hot_decode_blocks(arena, size) < all_resident_blocks(arena, size);
}

Result<std::vector<Placement>> placements(const ArenaModel& arena, const SequenceSize& size,
                                          ReleaseWhen when) {
  const Placement resident = resident_placement(arena, size);
  const uint64_t all = resident.bulk_blocks;
  const bool resident_fits = all <= arena.blocks;
  if (!release_helps(arena, size)) {
    if (!resident_fits) return never_fits(arena, size, all);
    return std::vector<Placement>{resident};
  }
  const uint64_t decode = hot_decode_blocks(arena, size);
  const uint64_t peak = std::max(decode, hot_peak_blocks(arena, size));
  const Placement hot{Residency::kHot, peak, decode};
  const bool hot_fits = peak <= arena.blocks;
  if (!hot_fits && !resident_fits) return never_fits(arena, size, std::min(peak, all));
  if (!hot_fits) return std::vector<Placement>{resident};
  if (!resident_fits || when == ReleaseWhen::kAlways) return std::vector<Placement>{hot};
  return std::vector<Placement>{resident, hot};
}

}  // namespace ebb::coordinator
