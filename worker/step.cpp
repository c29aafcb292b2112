#include "worker/step.h"

#include <algorithm>


namespace ebb::worker {

Position StepContext::first_seen_in_band(uint32_t band, uint32_t length) const {
  const LayerRange layers = layout.bands[band];
  Position first = length;
  for (uint32_t layer = layers.begin; layer < layers.end; ++layer) {
    first = std::min(first, first_seen(layer, length));
  }
  return first;
}

control::Candidates make_candidates(StepContext& context, const Sequence& sequence, uint32_t anchor,
                                    uint32_t length, const float* d_logits, const float* d_lse,
                                    float* d_scores) {
  kernels::Ops& ops = *context.backend.ops;
  const SelectionRequest request = sequence.policy->request(anchor, length);
  ops.score_max(d_logits, d_lse, context.shape.heads_q, length, d_scores);
  control::Candidates candidates;
  candidates.seq = sequence.id();
  candidates.take = request.take;
  for (const kernels::Scored& best :
       ops.top_k(d_scores, request.begin, request.end, request.take)) {
    candidates.positions.push_back(best.position);
    candidates.scores.push_back(best.score);
  }
  return candidates;
}

Result<void> exchange_sets(StepContext& context, UnitId unit, uint32_t anchor,
                           std::span<Sequence* const> sequences, std::span<const uint32_t> lengths,
                           std::vector<control::Candidates> candidates) {
  control::PublishRequest request;
  request.epoch = context.epoch;
  request.unit = unit;
  request.rank = context.rank;
  request.anchor = anchor;
  request.sequences = std::move(candidates);
  const auto reply = EBB_TRY(
      context.exchange.publish(std::move(request), Deadline::after(context.exchange_deadline)));
  if (reply.sequences.size() != sequences.size()) {
    return internal_error("selection exchange: " + std::to_string(reply.sequences.size()) +
                          " sets for " + std::to_string(sequences.size()) + " sequences");
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& sequence = *sequences[i];
    const control::MergedSet& merged = reply.sequences[i];
    const SelectionRequest asked = sequence.policy->request(anchor, lengths[i]);
    const bool valid = merged.seq == sequence.id() && merged.positions.size() <= asked.take &&
                       std::is_sorted(merged.positions.begin(), merged.positions.end()) &&
                       (merged.positions.empty() || (merged.positions.front() >= asked.begin &&
                                                     merged.positions.back() < asked.end));
    if (!valid) return internal_error("selection exchange: a set out of its range");
    sequence.sets[anchor] = sequence.policy->compose(anchor, lengths[i], merged.positions);
    sequence.counters.selected_tokens += sequence.sets[anchor].size();
  }
  return {};
}

TokenId next_token(Sequence& sequence, std::span<const float> logits, uint32_t length,
                   control::SequenceResult& result) {
  const control::SamplingParams& sampling = sequence.open.sampling;
  const auto top = static_cast<uint32_t>(std::max(sampling.logprobs, 0));
  if (length < sequence.open.prompt.size()) {
    const TokenId forced = sequence.open.prompt[length];
    result.prompt.push_back(score_token(logits, forced, std::max(top, sampling.prompt_top)));
    result.prompt.back().rank = rank_of_token(logits, forced);
    return forced;
  }
  if (sequence.open.max_tokens == 0) return sequence.open.prompt.back();  // nothing is wanted
  const auto sampled = sequence.sampling->sample(logits, length);
  if (!sampled) {
    result.problem = sampled.error().message;
    return sequence.open.prompt.back();  // the coordinator ends the sequence
  }
  const TokenId token = *sampled;
  result.has_token = true;
  result.token.token = token;
  if (sampling.logprobs >= 0) result.token = score_token(logits, token, top);
  result.finished = sequence.sampling->is_stop(token);
  result.complete = sequence.sampling->complete();
  return token;
}

}  // namespace ebb::worker
