// From logits to sets: scores, this rank's best, the merge over ranks where a set has all heads.
#include <algorithm>
#include <iterator>
#include <map>

#include "worker/step.h"

namespace ebb::worker {
namespace {

using kernels::Scored;
using kernels::TopKArgs;
using Best = std::vector<Scored>;

/// Max pool of odd `width`, stride 1, over scores [begin, end).
void pool_scores(StepContext& context, const Selection& choice, float* d_scores) {
  if (choice.pool <= 1 || choice.end <= choice.begin) return;
  const uint32_t count = choice.end - choice.begin;
  const uint32_t reach = choice.pool / 2;
  const uint64_t bytes = uint64_t{count} * sizeof(float);
  std::vector<float> scores(count), pooled(count);
  kernels::Device& device = *context.backend.device;
  device.copy_to_host(scores.data(), d_scores + choice.begin, bytes);
  for (uint32_t i = 0; i < count; ++i) {
    const auto first = scores.begin() + (i > reach ? i - reach : 0);
    const auto last = scores.begin() + std::min(count, i + reach + 1);
    pooled[i] = *std::max_element(first, last);
  }
  device.copy_to_device(d_scores + choice.begin, pooled.data(), bytes);
}

/// Candidates that were in one of this layer's last sets, ascending. It depends on the sequence's
/// own choices only, never on what is on the device.
std::vector<Position> recent(const Selection& choice, const Chooser& from) {
  std::vector<Position> positions;
  const auto& history = from.sequence->history.chosen_at;
  const auto found = history.find(from.layer);
  if (found == history.end()) return positions;
  const std::vector<uint32_t>& at = found->second;
  const auto end = std::min<size_t>(choice.end, at.size());
  for (size_t p = choice.begin; p < end; ++p) {
    // at: 1 + a step before this one.
    if (at[p] > 0 && at[p] + choice.boost_steps > from.step.step) {
      positions.push_back(static_cast<Position>(p));
    }
  }
  return positions;
}

/// The best of `heads` query heads from `first` on, by the maximum of their probabilities, which
/// go to d_scores.
TopKArgs best_of_heads(StepContext& context, const Selection& choice, const Chooser& from,
                       uint32_t first, uint32_t heads, float* d_scores) {
  kernels::Ops& ops = *context.backend.ops;
  ops.score_max(from.d_logits + uint64_t{first} * from.count, from.d_lse + first, heads, from.count,
                d_scores);
  pool_scores(context, choice, d_scores);
  if (choice.boost_steps > 0) ops.scale_scores(d_scores, recent(choice, from), choice.boost);
  return {d_scores, choice.begin, choice.end, choice.take};
}

/// Has the scores computed of which the best make the selection's lists; by query head for a union.
void score_lists(StepContext& context, const Selection& choice, const Chooser& from,
                 std::vector<TopKArgs>& wanted) {
  const kernels::KvShape& shape = context.shape;
  const uint32_t group = shape.heads_q / shape.heads_kv;
  if (choice.score == Selection::Score::kRankUnion || choice.scope == SetScope::kQueryHead) {
    for (uint64_t head = 0; head < shape.heads_q; ++head) {
      wanted.push_back({from.d_logits + head * from.count, choice.begin, choice.end, choice.take});
    }
  } else if (choice.scope == SetScope::kLayer) {
    wanted.push_back(best_of_heads(context, choice, from, 0, from.heads, from.d_scores));
  } else {
    for (uint32_t head = 0; head < shape.heads_q; head += group) {
      float* d_scores = from.d_scores + uint64_t{head / group} * from.count;
      wanted.push_back(best_of_heads(context, choice, from, head, group, d_scores));
    }
  }
}

/// LessIsMore's merge: all heads' first choices, then all second ones, and so on. The order of a
/// position (rank in the list of the head that names it first, then that head) is written as a
/// score, higher first, so that merging by maximum over ranks is the same union. f32 holds the
/// integers exactly: make_policy bounds the budget.
Best best_of_union(StepContext& context, const Selection& choice, std::span<const Best> by_head) {
  const HeadRange heads = context.model.share().heads_q;
  std::map<Position, uint32_t> first_named;
  for (uint32_t h = 0; h < heads.size(); ++h) {
    const Best& own = by_head[h];
    for (uint32_t place = 0; place < own.size(); ++place) {
      const uint32_t order = place * context.model.shape().heads_q + heads.begin + h;
      const auto [at, fresh] = first_named.try_emplace(own[place].position, order);
      if (!fresh) at->second = std::min(at->second, order);
    }
  }
  Best best;
  for (const auto& [position, order] : first_named) {
    best.push_back({position, -static_cast<float>(order)});
  }
  std::sort(best.begin(), best.end(),
            [](const Scored& a, const Scored& b) { return a.score > b.score; });
  if (best.size() > choice.take) best.resize(choice.take);
  return best;
}

/// By chooser, then by list of the selection's scope; kLayer: this rank's candidates. The device is
/// waited for once.
std::vector<std::vector<Best>> best_by_list(StepContext& context,
                                            std::span<const Selection> choices,
                                            std::span<const Chooser> choosers) {
  std::vector<TopKArgs> wanted;
  std::vector<size_t> ends;  // of each chooser's
  for (size_t i = 0; i < choosers.size(); ++i) {
    score_lists(context, choices[i], choosers[i], wanted);
    ends.push_back(wanted.size());
  }
  std::vector<Best> best = context.backend.ops->top_k(wanted);
  std::vector<std::vector<Best>> lists(choosers.size());
  for (size_t i = 0, at = 0; i < choosers.size(); at = ends[i++]) {
    const auto own = std::span(best).subspan(at, ends[i] - at);
    if (choices[i].score == Selection::Score::kRankUnion) {
      lists[i].push_back(best_of_union(context, choices[i], own));
    } else {
      lists[i].assign(std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
    }
  }
  return lists;
}

control::Candidates candidates_of(const Sequence& sequence, const Selection& choice,
                                  const Best& best) {
  control::Candidates candidates;
  candidates.seq = sequence.id();
  candidates.take = choice.take;
  for (const Scored& scored : best) {
    candidates.positions.push_back(scored.position);
    candidates.scores.push_back(scored.score);
  }
  return candidates;
}

Result<void> check_merged(const Sequence& sequence, const Selection& asked,
                          const control::MergedSet& merged) {
  const auto& positions = merged.positions;
  const bool valid =
      merged.seq == sequence.id() && positions.size() <= asked.take &&
      std::is_sorted(positions.begin(), positions.end()) &&
      (positions.empty() || (positions.front() >= asked.begin && positions.back() < asked.end));
  if (!valid) return internal_error("selection exchange: a set out of its range");
  return {};
}

Result<control::PublishReply> publish(StepContext& context, UnitId unit, uint32_t layer,
                                      std::vector<control::Candidates> candidates) {
  const size_t asked = candidates.size();
  control::PublishRequest request;
  request.epoch = context.epoch;
  request.unit = unit;
  request.rank = context.rank;
  request.anchor = layer;
  request.sequences = std::move(candidates);
  auto reply = EBB_TRY(
      context.exchange.publish(std::move(request), Deadline::after(context.exchange_deadline)));
  if (reply.sequences.size() != asked) {
    return internal_error("selection exchange: " + std::to_string(reply.sequences.size()) +
                          " sets for " + std::to_string(asked) + " sequences");
  }
  return reply;
}

}  // namespace

uint64_t score_floats(const kernels::KvShape& shape, const Selection& choice, uint32_t count) {
  if (choice.score != Selection::Score::kProbability) return 0;
  return choice.scope == SetScope::kKvHead ? uint64_t{shape.heads_kv} * count : count;
}

Result<std::vector<TokenSet>> choose_sets(StepContext& context, UnitId unit, uint32_t layer,
                                          std::span<const Chooser> choosers) {
  std::vector<TokenSet> sets(choosers.size());
  std::vector<Selection> choices;
  for (const Chooser& chooser : choosers) {
    choices.push_back(chooser.sequence->policy->selection(layer, chooser.step.length));
  }
  const auto lists = best_by_list(context, choices, choosers);
  EBB_TRY_VOID(context.backend.device->synchronize());  // no set from a device that is lost
  std::vector<control::Candidates> candidates;
  std::vector<size_t> shared;  // who waits for the merge
  for (size_t i = 0; i < choosers.size(); ++i) {
    const Sequence& sequence = *choosers[i].sequence;
    if (choices[i].scope == SetScope::kLayer) {
      candidates.push_back(candidates_of(sequence, choices[i], lists[i][0]));
      shared.push_back(i);
      continue;
    }
    Chosen chosen(lists[i].size());
    for (size_t list = 0; list < lists[i].size(); ++list) {
      for (const Scored& scored : lists[i][list]) chosen[list].push_back(scored.position);
    }
    sets[i] = sequence.policy->compose(layer, choosers[i].step.length, std::move(chosen));
  }
  if (!shared.empty()) {
    auto reply = EBB_TRY(publish(context, unit, layer, std::move(candidates)));
    for (size_t i = 0; i < shared.size(); ++i) {
      const Chooser& chooser = choosers[shared[i]];
      const Sequence& sequence = *chooser.sequence;
      EBB_TRY_VOID(check_merged(sequence, choices[shared[i]], reply.sequences[i]));
      sets[shared[i]] = sequence.policy->compose(layer, chooser.step.length,
                                                 {std::move(reply.sequences[i].positions)});
    }
  }
  for (size_t i = 0; i < choosers.size(); ++i) {
    choosers[i].sequence->counters.selected_tokens += sets[i].lists[0].size();
  }
  return sets;
}

void trace_set(const StepContext& context, uint32_t layer, const TokenSet& set,
               control::SequenceResult& result) {
  uint32_t head = 0;
  if (set.scope == SetScope::kKvHead) head = context.layout.heads(context.rank).begin;
  if (set.scope == SetScope::kQueryHead) head = context.model.share().heads_q.begin;
  for (const auto& list : set.lists) result.trace.push_back({layer, list, set.scope, head++});
}

}  // namespace ebb::worker
