// How much of the device arena a sequence needs, and in which of two ways it may live there. Pure
// arithmetic; must not know requests, units or clocks.
//
// Everything is counted in blocks: a block is `granule_tokens` (g) rows of one layer, of all ranks
// together.
//
//   block bytes   B         = g * row_bytes_all
//   arena blocks  A         = device_kv_bytes / B        (the same number on every rank)
//                 blocks(t) = ceil(t / g)                (of one layer, for t tokens)
//
// A sequence of n tokens (prompt + max_tokens), of which the bulk pass covers p, in L layers:
//
// All resident.
//   need   = L * blocks(min(n, m)), m: what the policy keeps at all (streaming; else n)
// Where only k of them stay once the bulk pass is over (adore), that is
//   decode = L * blocks(min(n, k)),  peak = L * max(blocks(p), blocks(min(n, k)))
//
// Hot. Layers that attend to every token keep all rows. A layer of the other bands (followers; with
// a digest every layer from the first that chooses on) keeps a pool of c rows, and two granules
// more: the tail that is not sealed yet, and room to restore into. Where layers read sets of
// different sizes, a band's c is in proportion to its largest (models/layer_budgets.h).
//   H      = min(blocks(c + 2g), blocks(n))
//   decode = resident layers * blocks(n) + hot layers * H
// The bulk pass goes band by band; the activations of every token, [p, width] f32, wait between
// bands, dealt to the ranks by the KV heads that they keep (p' = p rounded up to a multiple of
// those heads, copies counted: with more ranks than heads several ranks keep the same head).
//   at band i = sum over bands j < i of (resident: layers(j) * blocks(p), hot: layers(j) * H)
//             + layers(i) * blocks(p)
//             + ceil(p' * width * 4 / B)
//   peak      = max over i
// What a policy keeps beside the rows comes on top of each of these, for n tokens (in the bulk
// pass: for p): digests and sums, as models/digest_size.h counts them.
//   aids(t) = digest layers * ceil(t / digests in a block) + sum layers * ceil(runs(t) / in a
//   block)
//
// A band's release compacts inside the band's own blocks, so it needs nothing on top. While its
// bulk pass runs, a hot sequence holds max(decode, peak); afterwards `decode`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/kv_layout.h"
#include "models/selection_profile.h"

namespace ebb::coordinator {

/// One group's arena, as admission sees it.
struct ArenaModel {
  struct Band {
    LayerRange layers;
    bool follower = false;  ///< by the profile
  };
  std::vector<Band> bands;  ///< ascending, together all layers
  uint32_t granule_tokens = 16;
  uint64_t block_bytes = 0;  ///< of all ranks together
  uint64_t blocks = 0;       ///< A
  uint32_t width = 0;        ///< elements of one token's activations
  uint32_t kept_heads = 1;   ///< KV heads of all ranks together, copies counted

  uint16_t layers() const { return bands.back().layers.end; }
  uint64_t blocks_of(uint64_t tokens) const {
    return (tokens + granule_tokens - 1) / granule_tokens;
  }
};

/// Errors: kInvalid (an arena of no block at all: names device_kv_size and the least that makes
/// sense).
Result<ArenaModel> make_arena_model(const models::KvLayout& layout,
                                    const models::SelectionProfile& profile,
                                    uint64_t device_kv_bytes, uint32_t width);

/// What decides a sequence's need.
struct SequenceSize {
  uint32_t bulk_tokens = 0;   ///< p: tokens of the bulk pass, at least 1
  uint32_t total_tokens = 0;  ///< n: prompt + max_tokens
  uint32_t hot_tokens = 0;    ///< c; 0: the policy may want any row, so nothing may be released
  uint32_t kept_tokens = 0;   ///< m: rows that are kept at most, the others are forgotten; 0: all
  uint32_t hot_from = 0;      ///< bands from this layer on may be hot; 0: those of followers
  uint32_t digest_layers = 0;
  uint32_t block_digests = 1;  ///< tokens whose digests fit a block
  uint32_t sum_layers = 0;
  uint32_t block_sum_tokens = 1;  ///< tokens whose sums fit a block
  uint32_t pool_tokens = 0;       ///< k: rows that are kept once the bulk pass is over; 0: all
  uint32_t budget = 0;            ///< K: c is what a layer has that reads so many tokens
  std::vector<uint32_t> layer_budgets = {};  ///< by layer, where they differ; empty: K
};

/// Whether a band of this sequence may be hot.
bool may_be_hot(const ArenaModel::Band& band, const SequenceSize& size);
/// Blocks of digests and sums.
uint64_t aids_blocks(const SequenceSize& size, uint64_t tokens);

uint64_t all_resident_blocks(const ArenaModel& arena, const SequenceSize& size);
/// H: blocks of one layer's pool in a hot band.
uint64_t hot_pool_blocks(const ArenaModel& arena, const SequenceSize& size, LayerRange band);
/// Blocks while a hot sequence decodes.
uint64_t hot_decode_blocks(const ArenaModel& arena, const SequenceSize& size);
/// The most blocks that a hot sequence's bulk pass holds at once.
uint64_t hot_peak_blocks(const ArenaModel& arena, const SequenceSize& size);
/// True when releasing would give anything back at all.
bool release_helps(const ArenaModel& arena, const SequenceSize& size);

enum class Residency : uint8_t { kAll, kHot };

/// One way to place a sequence, with what it reserves.
struct Placement {
  Residency residency = Residency::kAll;
  uint64_t bulk_blocks = 0;    ///< from admission to the end of the bulk pass
  uint64_t decode_blocks = 0;  ///< from then on; never more than bulk_blocks
};

enum class ReleaseWhen : uint8_t { kPressure, kAlways };

/// The ways in which a sequence may be placed in an empty arena, the preferred one first; never
/// empty. With kPressure a sequence stays resident while there is room; with kAlways it is released
/// during its bulk pass, unless only staying resident fits. Errors: kInvalid when none fits: names
/// the policy's need and device_kv_size in MiB.
Result<std::vector<Placement>> placements(const ArenaModel& arena, const SequenceSize& size,
                                          ReleaseWhen when);

}  // namespace ebb::coordinator
