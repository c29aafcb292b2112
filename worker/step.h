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

namespace ebb::worker {

/// Everything belongs to the engine thread and outlives the steps that use it.
struct StepContext {
  Transformer& model;
  kernels::Backend& backend;
  const models::KvLayout& layout;
  const models::SelectionProfile& profile;
  kernels::KvShape shape;
  Arena& arena;
  KvMover& mover;
  SelectionExchange& exchange;
  Epoch epoch;
  uint32_t rank = 0;
  uint64_t* step_clock = nullptr;  ///< counts steps; ages of rows are measured in it
  Millis exchange_deadline{3000};

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

/// This rank's best candidates of one sequence at one anchor, from the logits of its newest row.
/// d_logits [heads_q, length], d_lse [heads_q]; d_scores holds at least `length` floats.
control::Candidates make_candidates(StepContext& context, const Sequence& sequence, uint32_t anchor,
                                    uint32_t length, const float* d_logits, const float* d_lse,
                                    float* d_scores);

/// Publishes, and composes the sets of `sequences` (each at its length) from the merged answer into
/// Sequence::sets.
Result<void> exchange_sets(StepContext& context, UnitId unit, uint32_t anchor,
                           std::span<Sequence* const> sequences, std::span<const uint32_t> lengths,
                           std::vector<control::Candidates> candidates);

/// Rank 0 only: the next token after position `length - 1` of `sequence` from its logits
/// [vocabulary]: scores the forced token, or samples, which moves the sampling state: call it once
/// a step, when nothing else of the step can fail. Fills `result`; returns the token.
TokenId next_token(Sequence& sequence, std::span<const float> logits, uint32_t length,
                   control::SequenceResult& result);

}  // namespace ebb::worker
