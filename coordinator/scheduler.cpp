#include "coordinator/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::coordinator {
namespace {

double seconds(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

std::vector<uint16_t> hot_bands(const ArenaModel& arena, const SequenceSize& size) {
  std::vector<uint16_t> bands;
  for (size_t band = 0; band < arena.bands.size(); ++band) {
    if (may_be_hot(arena.bands[band], size)) bands.push_back(static_cast<uint16_t>(band));
  }
  return bands;
}

const SequenceOutcome* outcome_of(const UnitOutcome& outcome, SeqId seq) {
  for (const auto& sequence : outcome.sequences) {
    if (sequence.result.seq == seq) return &sequence;
  }
  return nullptr;
}

std::vector<SeqId> seqs_of(const control::Unit& unit) {
  switch (unit.kind) {
    case control::UnitKind::kOpen:
      return {unit.open.seq};
    case control::UnitKind::kBulk:
      return {unit.bulk.seq};
    case control::UnitKind::kRelease:
      return {unit.release.seq};
    case control::UnitKind::kDecode:
      return unit.decode.seqs;
    case control::UnitKind::kClose:
      return {unit.close.seq};
  }
  return {};
}

}  // namespace

Scheduler::Scheduler(ArenaModel arena, SchedulerLimits limits)
    : arena_(std::move(arena)), limits_(limits) {}

// --- Requests come and go ---------------------------------------------------------------------

Result<void> Scheduler::submit(SeqId seq, CheckedRequest request, TimePoint now) {
  if (queue_.size() >= limits_.queue_max) {
    return exhausted("queue_max: " + std::to_string(limits_.queue_max) + " requests wait already");
  }
  EBB_CHECK(!request.placements.empty());
  Sequence sequence;
  sequence.seq = seq;
  sequence.prompt_tokens = static_cast<uint32_t>(request.open.prompt.size());
  sequence.open = std::move(request.open);
  sequence.open.seq = seq;
  sequence.size = request.size;
  sequence.placements = std::move(request.placements);
  sequence.submitted_at = now;
  const bool inserted = sequences_.emplace(seq, std::move(sequence)).second;
  EBB_CHECK(inserted);
  queue_.push_back(seq);
  return {};
}

Events Scheduler::cancel(SeqId seq, FinishReason reason, TimePoint now) {
  Events events;
  Sequence* sequence = find(seq);
  if (sequence != nullptr && !sequence->ended) {
    end(*sequence, Finished{seq, reason, usage(*sequence, now)}, events);
  }
  return events;
}

Events Scheduler::fail(SeqId seq, const Error& error) {
  Events events;
  Sequence* sequence = find(seq);
  if (sequence != nullptr && !sequence->ended) end(*sequence, Failed{seq, error}, events);
  return events;
}

Events Scheduler::lose_all(const Error& error) {
  Events events;
  for (const auto& [seq, sequence] : sequences_) {
    if (!sequence.ended) events.emplace_back(Failed{seq, error});
    events.emplace_back(Closed{seq, std::nullopt});
  }
  sequences_.clear();
  queue_.clear();
  in_flight_.reset();
  bulk_.reset();
  decode_due_ = false;
  reserved_ = 0;
  return events;
}

/// `sequence` may be gone afterwards: one that never reached the workers has nothing to close.
void Scheduler::end(Sequence& sequence, Event last_word, Events& events) {
  EBB_CHECK(!sequence.ended);
  events.push_back(std::move(last_word));
  sequence.ended = true;
  if (bulk_ == sequence.seq) bulk_.reset();
  if (sequence.phase != Phase::kWaiting) {
    sequence.phase = Phase::kClosing;
    return;
  }
  const SeqId seq = sequence.seq;
  std::erase(queue_, seq);
  sequences_.erase(seq);
  events.emplace_back(Closed{seq, std::nullopt});
}

// --- What runs next ---------------------------------------------------------------------------

std::optional<control::Unit> Scheduler::next(TimePoint now) {
  if (in_flight_) return std::nullopt;
  auto unit = choose(now);
  if (unit) in_flight_ = InFlight{unit->kind, seqs_of(*unit)};
  return unit;
}

std::optional<control::Unit> Scheduler::choose(TimePoint now) {
  if (auto unit = close_one()) return unit;
  if (std::exchange(decode_due_, false)) {
    if (auto unit = decode_all()) return unit;
  }
  if (bulk_) return bulk_step(sequences_.at(*bulk_));
  if (auto unit = admit_head(now)) return unit;
  return decode_all();
}

std::optional<control::Unit> Scheduler::close_one() {
  for (const auto& [seq, sequence] : sequences_) {
    if (sequence.phase != Phase::kClosing) continue;
    control::Unit unit;
    unit.kind = control::UnitKind::kClose;
    unit.close.seq = seq;
    return unit;
  }
  return std::nullopt;
}

std::optional<control::Unit> Scheduler::decode_all() {
  control::Unit unit;
  unit.kind = control::UnitKind::kDecode;
  for (const auto& [seq, sequence] : sequences_) {
    if (sequence.phase == Phase::kDecode) unit.decode.seqs.push_back(seq);
  }
  if (unit.decode.seqs.empty()) return std::nullopt;
  return unit;
}

control::Unit Scheduler::bulk_step(Sequence& sequence) {
  const auto step = sequence.plan.next();
  EBB_CHECK(step.has_value());
  control::Unit unit;
  if (const auto* bulk = std::get_if<control::BulkUnit>(&*step)) {
    unit.kind = control::UnitKind::kBulk;
    unit.bulk = *bulk;
  } else {
    unit.kind = control::UnitKind::kRelease;
    unit.release = std::get<control::ReleaseUnit>(*step);
  }
  return unit;
}

std::optional<control::Unit> Scheduler::admit_head(TimePoint now) {
  if (queue_.empty() || running() >= limits_.max_num_seqs) return std::nullopt;
  Sequence& head = sequences_.at(queue_.front());
  const uint64_t free = arena_.blocks - reserved_;
  for (const Placement& placement : head.placements) {
    if (placement.bulk_blocks <= free) return open(head, placement, now);
  }
  return make_room(head);
}

/// Pressure: what resident sequences of sparse policies could give back, if that is enough; one
/// release at a time.
std::optional<control::Unit> Scheduler::make_room(const Sequence& head) {
  uint64_t wanted = UINT64_MAX;
  for (const Placement& placement : head.placements) {
    wanted = std::min(wanted, placement.bulk_blocks);
  }
  uint64_t reachable = arena_.blocks - reserved_;
  const Sequence* oldest = nullptr;
  for (const auto& [seq, sequence] : sequences_) {
    const bool can_give = sequence.phase == Phase::kDecode &&
                          sequence.residency == Residency::kAll &&
                          release_helps(arena_, sequence.size);
    if (!can_give) continue;
    reachable += sequence.reserved - hot_decode_blocks(arena_, sequence.size);
    if (oldest == nullptr) oldest = &sequence;
  }
  if (oldest == nullptr || reachable < wanted) return std::nullopt;
  control::Unit unit;
  unit.kind = control::UnitKind::kRelease;
  unit.release = {oldest->seq, hot_bands(arena_, oldest->size), oldest->size.hot_tokens};
  return unit;
}

control::Unit Scheduler::open(Sequence& sequence, const Placement& placement, TimePoint now) {
  queue_.pop_front();
  sequence.phase = Phase::kOpening;
  sequence.opened_at = now;
  sequence.residency = placement.residency;
  sequence.decode_blocks = placement.decode_blocks;
  sequence.plan =
      BulkPlan(arena_, sequence.seq, sequence.size, placement.residency, limits_.chunk_tokens);
  reserve(sequence, placement.bulk_blocks);
  bulk_ = sequence.seq;
  control::Unit unit;
  unit.kind = control::UnitKind::kOpen;
  unit.open = sequence.open;
  sequence.open.prompt.clear();
  sequence.open.prompt.shrink_to_fit();
  return unit;
}

void Scheduler::reserve(Sequence& sequence, uint64_t blocks) {
  EBB_CHECK(reserved_ >= sequence.reserved);
  reserved_ = reserved_ - sequence.reserved + blocks;
  sequence.reserved = blocks;
  EBB_CHECK(reserved_ <= arena_.blocks);
}

// --- What a unit's outcome means --------------------------------------------------------------

Events Scheduler::finish(const UnitOutcome& outcome, TimePoint now) {
  EBB_CHECK(in_flight_.has_value());
  const InFlight unit = std::move(*in_flight_);
  in_flight_.reset();
  Events events;
  if (unit.kind == control::UnitKind::kClose) {
    finish_close(unit.seqs.front(), outcome, events);
    return events;
  }
  const bool bulk_like =
      unit.kind == control::UnitKind::kBulk || unit.kind == control::UnitKind::kRelease;
  if (bulk_like) decode_due_ = true;
  for (const auto& failure : outcome.failures) {
    EBB_CHECK(failure.seq.value != 0);
    Sequence* sequence = find(failure.seq);
    if (sequence != nullptr && !sequence->ended) {
      end(*sequence, Failed{failure.seq, failure.error}, events);
    }
  }
  for (const SeqId seq : unit.seqs) {
    Sequence* sequence = find(seq);
    if (sequence == nullptr || sequence->ended) continue;
    const SequenceOutcome* of_sequence = outcome_of(outcome, seq);
    const auto* result = of_sequence == nullptr ? nullptr : &of_sequence->result;
    // A decode step that some sequence could not do is given up for all of its batch on every rank;
    // it changed nothing that a later step would not write again, so the others do it again.
    const bool given_up =
        unit.kind == control::UnitKind::kDecode && result == nullptr && !outcome.failures.empty();
    if (given_up) continue;
    if (of_sequence != nullptr) {
      sequence->counters = result->counters;
      sequence->device_bytes_max = of_sequence->device_bytes_max;
    }
    switch (unit.kind) {
      case control::UnitKind::kOpen:
        sequence->phase = Phase::kBulk;
        break;
      case control::UnitKind::kBulk:
        finish_bulk(*sequence, result, now, events);
        break;
      case control::UnitKind::kRelease:
        finish_release(*sequence, now);
        break;
      case control::UnitKind::kDecode:
        finish_decode(*sequence, result, now, events);
        break;
      case control::UnitKind::kClose:
        break;
    }
  }
  return events;
}

void Scheduler::finish_close(SeqId seq, const UnitOutcome& outcome, Events& events) {
  Sequence* sequence = find(seq);
  EBB_CHECK(sequence != nullptr);
  reserve(*sequence, 0);
  sequences_.erase(seq);
  std::optional<control::SequenceMap> map;
  for (const auto& of_sequence : outcome.maps) {
    if (of_sequence.seq == seq) map = of_sequence;
  }
  events.emplace_back(Closed{seq, std::move(map)});
}

void Scheduler::finish_bulk(Sequence& sequence, const control::SequenceResult* result,
                            TimePoint now, Events& events) {
  const bool gives_logits = sequence.plan.next_gives_logits();
  sequence.plan.advance();
  const bool complete = !sequence.plan.next().has_value();
  if (gives_logits) sequence.decoding_at = now;
  if (gives_logits && result == nullptr) {
    return end(sequence, Failed{sequence.seq, internal_error("the workers gave no result")},
               events);
  }
  if (gives_logits) {
    take_tokens(sequence, *result, now, events);
  } else if (result != nullptr && !result->prompt.empty()) {
    events.emplace_back(PromptScored{sequence.seq, result->prompt});
  }
  if (complete && !sequence.ended) start_decoding(sequence, now);
}

void Scheduler::finish_release(Sequence& sequence, TimePoint now) {
  if (sequence.phase == Phase::kBulk) {
    sequence.plan.advance();
    if (!sequence.plan.next()) start_decoding(sequence, now);
    return;
  }
  sequence.residency = Residency::kHot;
  reserve(sequence, hot_decode_blocks(arena_, sequence.size));
}

void Scheduler::start_decoding(Sequence& sequence, TimePoint now) {
  sequence.phase = Phase::kDecode;
  sequence.decoding_at = now;
  bulk_.reset();
  reserve(sequence, sequence.decode_blocks);
}

void Scheduler::finish_decode(Sequence& sequence, const control::SequenceResult* result,
                              TimePoint now, Events& events) {
  ++sequence.decode_steps;
  if (result == nullptr) {
    return end(sequence, Failed{sequence.seq, internal_error("the workers gave no result")},
               events);
  }
  take_tokens(sequence, *result, now, events);
}

/// The logits of position p = bulk_tokens - 1 + decode_steps are there. While p + 1 is a prompt
/// token they score it; from the prompt's last token on they sample.
void Scheduler::take_tokens(Sequence& sequence, const control::SequenceResult& result,
                            TimePoint now, Events& events) {
  const SeqId seq = sequence.seq;
  if (!result.prompt.empty()) events.emplace_back(PromptScored{seq, result.prompt});
  const uint64_t next_position = uint64_t{sequence.size.bulk_tokens} + sequence.decode_steps;
  const bool scores_prompt = next_position < sequence.prompt_tokens;
  const bool last_of_prompt = next_position + 1 >= sequence.prompt_tokens;
  if (sequence.open.max_tokens == 0) {
    if (!last_of_prompt) return;
    return end(sequence, Finished{seq, FinishReason::kLength, usage(sequence, now)}, events);
  }
  if (scores_prompt) return;
  if (!result.problem.empty()) {
    return end(sequence, Failed{seq, unsupported(result.problem)}, events);
  }
  if (!result.has_token) {
    return end(sequence, Failed{seq, internal_error("the workers gave no token")}, events);
  }
  ++sequence.generated;
  if (result.finished) {
    return end(sequence, Finished{seq, FinishReason::kStop, usage(sequence, now)}, events);
  }
  events.emplace_back(TokenMade{seq, result.token, result.trace});
  if (result.complete) {
    return end(sequence, Finished{seq, FinishReason::kStop, usage(sequence, now)}, events);
  }
  if (sequence.generated == sequence.open.max_tokens) {
    end(sequence, Finished{seq, FinishReason::kLength, usage(sequence, now)}, events);
  }
}

// --- What can be asked ------------------------------------------------------------------------

Scheduler::Sequence* Scheduler::find(SeqId seq) {
  const auto found = sequences_.find(seq);
  return found == sequences_.end() ? nullptr : &found->second;
}

Usage Scheduler::usage(const Sequence& sequence, TimePoint now) const {
  Usage usage;
  usage.prompt_tokens = sequence.prompt_tokens;
  usage.completion_tokens = sequence.generated;
  usage.policy = sequence.open.policy;
  usage.counters = sequence.counters;
  usage.device_bytes_max = sequence.device_bytes_max;
  const bool opened = sequence.opened_at != TimePoint{};
  const bool decoding = sequence.decoding_at != TimePoint{};
  usage.queue_seconds = seconds(sequence.submitted_at, opened ? sequence.opened_at : now);
  if (opened)
    usage.prefill_seconds = seconds(sequence.opened_at, decoding ? sequence.decoding_at : now);
  if (decoding) usage.decode_seconds = seconds(sequence.decoding_at, now);
  return usage;
}

std::optional<Scheduler::View> Scheduler::view(SeqId seq) const {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) return std::nullopt;
  const Sequence& sequence = found->second;
  View view;
  view.phase = sequence.phase;
  view.ended = sequence.ended;
  view.policy = sequence.open.policy;
  view.prompt_tokens = sequence.prompt_tokens;
  view.tokens = sequence.plan.complete_tokens() + sequence.decode_steps;
  view.generated = sequence.generated;
  return view;
}

}  // namespace ebb::coordinator
