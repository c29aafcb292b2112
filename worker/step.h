// What decode steps and bulk units share: the parts of a worker that compute, wired once per epoch.
#pragma once

#include "base/clock.h"
#include "models/kv_layout.h"
#include "models/selection_profile.h"
#include "worker/arena.h"
#include "worker/exchange.h"
#include "worker/kv_mover.h"
#include "worker/model/transformer.h"
#include "worker/sequence.h"
#include "worker/slot_lists.h"

namespace ebb::worker {

class StepObserver;

/// Everything belongs to the engine thread and outlives the steps that use it.
struct StepContext {
  Transformer& model;
  kernels::Backend& backend;
  const models::KvLayout& layout;
  const models::SelectionProfile& profile;
  kernels::KvShape shape;
  Arena& arena;
  KvMover& mover;
  SlotLists& lists;
  SelectionExchange& exchange;
  Epoch epoch;
  uint32_t rank = 0;
  uint64_t* step_clock = nullptr;  ///< counts steps; ages of rows are measured in it
  Millis exchange_deadline{3000};
  StepObserver* observer = nullptr;     ///< null: nobody looks
  const TokenScorer* scorer = nullptr;  ///< of sequences that have scores

  /// The first of `length` tokens that the newest one sees in `layer` (sliding windows).
  Position first_seen(uint32_t layer, uint32_t length) const {
    const uint32_t window = model.shape().window(layer);
    return window == 0 || window >= length ? 0 : length - window;
  }
  /// The same for the layer of `band` that sees farthest back.
  Position first_seen_in_band(uint32_t band, uint32_t length) const;
};

/// A whole unit that cannot go on (the collective is dead) is an Error; a sequence that cannot is a
/// failure in `out`. A step that ended with failures has changed nothing that a replay would not
/// write again: lengths, tokens and sampler state move only when it succeeds.
Result<void> run_decode(StepContext& context, UnitId unit, std::span<Sequence* const> sequences,
                        control::UnitResult& out);

/// Dense attention of one chunk through some layers (the bulk pass is designed in
/// docs/kv_layout.md).
Result<void> run_bulk(StepContext& context, UnitId unit, Sequence& sequence,
                      const control::BulkUnit& bulk, control::UnitResult& out);

/// Computes tokens [begin, length) of a sequence again, densely, and writes their KV over what
/// sparse steps made (TidalDecode's KV correction). Everything before them must be exact, and every
/// row on the device. Logits are discarded: tokens that are out are not changed.
Result<void> run_correction(StepContext& context, Sequence& sequence, Position begin);

/// A sequence whose scores are to know its tokens [0, end), and have room for them.
struct UnreadTokens {
  Sequence* sequence = nullptr;
  Position end = 0;
};
/// Policies that score tokens: tells the scores of each sequence what they do not know yet, as many
/// rows at once as the model takes. Overwrites the model's activations.
void read_tokens(StepContext& context, std::span<const UnreadTokens> unread);
/// And lets go of what the policy does not retain, when rows may be forgotten.
void drop_unretained(StepContext& context, Sequence& sequence);

/// A sequence that chooses a set: the logits [heads, count] and lse [heads] of its newest row.
struct Chooser {
  Sequence* sequence = nullptr;
  StepInfo step;
  uint32_t layer = 0;  ///< whose set it will be
  uint32_t count = 0;  ///< tokens that have logits: all that may be chosen, and more
  uint32_t heads = 0;  ///< of this rank, or (scope layer) a multiple: those of several layers
  const float* d_logits = nullptr;
  const float* d_lse = nullptr;
  float* d_scores = nullptr;  ///< room for score_floats()
};
/// Floats that a chooser of `count` tokens needs for its scores.
uint64_t score_floats(const kernels::KvShape& shape, const Selection& choice, uint32_t count);

/// The sets of `choosers` at `layer`, in their order; sets of scope layer are merged over all ranks
/// by the exchange, the others are this rank's own. The device is waited for once. Errors: those of
/// the exchange.
Result<std::vector<TokenSet>> choose_sets(StepContext& context, UnitId unit, uint32_t layer,
                                          std::span<const Chooser> choosers);

/// Adds a set to what `trace: "selection"` returns.
void trace_set(const StepContext& context, uint32_t layer, const TokenSet& set,
               control::SequenceResult& result);

/// What a row at `position` reads under a fixed pattern, as slots of a ring; oldest first. `alt`:
/// how many of them, the first ones, are scored with the second query.
struct PatternRead {
  std::vector<uint32_t> slots;
  uint32_t alt = 0;
};
PatternRead read_pattern(const SinksWindow& pattern, const BandResidency& ring, Position position);
/// The part of it that a layer with a sliding window of `window` slots sees; 0: all.
kernels::AttendArgs cut_pattern(const PatternRead& read, uint32_t window);

/// Mean over all query heads of all ranks, by row: `count` rows from d_q [count, heads_q,
/// head_size]. The same bits on every rank.
Result<std::vector<std::vector<float>>> mean_queries(StepContext& context,
                                                     std::span<const float* const> d_rows);

/// A row of the model whose next token is wanted.
struct NextRow {
  Sequence* sequence = nullptr;
  uint32_t length = 0;  ///< the token that comes has this position
  control::SequenceResult* result = nullptr;
  bool observed = false;  ///< the observer sees its logits
};
/// The token after each of the model's rows [first, first + rows.size()): scores the one that is
/// forced, or draws, which moves the sampling state: call it once a step, when nothing else of the
/// step can fail. Every rank calls it; on rank 0 it fills the results and returns the tokens.
Result<std::vector<TokenId>> next_tokens(StepContext& context, uint32_t first,
                                         std::span<const NextRow> rows);

}  // namespace ebb::worker
