// One token for each sequence of a batch: plan, fetch, run. Sequences may have different policies,
// lengths and residencies; the layers run for all of them together.
#include <algorithm>
#include <numeric>

#include "worker/step.h"

namespace ebb::worker {
namespace {

/// What one band of one sequence reads in this step.
struct Reading {
  bool ready = false;               ///< rows are on the device (or on their way: see `pending`)
  std::vector<Position> positions;  ///< ascending; what the band's layers read, windows aside
  std::vector<uint32_t> slots;      ///< of the positions
};

struct Member {
  Sequence* sequence = nullptr;
  std::vector<uint32_t> new_slot;  ///< by band: where this step's row goes
  std::vector<Reading> readings;   ///< by band
  control::SequenceResult result;
  bool failed = false;
  uint32_t length() const { return sequence->length + 1; }  ///< the new token included
};

class DecodeStep {
 public:
  DecodeStep(StepContext& context, UnitId unit, std::span<Sequence* const> sequences)
      : c_(context), unit_(unit), step_(++*context.step_clock) {
    for (Sequence* sequence : sequences) {
      Member member;
      member.sequence = sequence;
      member.readings.resize(sequence->kv->band_count());
      member.result.seq = sequence->id();
      members_.push_back(std::move(member));
    }
  }

  Result<void> run(control::UnitResult& out);

 private:
  void place_rows();
  Result<uint32_t> run_layer(uint32_t layer);
  void append(uint32_t layer);
  void attend(uint32_t layer);
  void select(uint32_t layer);
  void prepare(uint32_t anchor, std::span<Member* const> chosen);
  void want_rows(Member& member, uint32_t band, std::vector<Position> set,
                 std::vector<RestoreWant>& wants);
  void await_rows();
  std::span<const uint32_t> reading(Member& member, uint32_t layer, const LayerPlan& plan);
  Result<void> reserve_scratch();
  Result<void> finish(control::UnitResult& out);
  void fail(Member& member, Error why);
  uint32_t errors() const { return failures_.empty() ? 0 : 1; }

  StepContext& c_;
  UnitId unit_;
  uint64_t step_;
  std::vector<Member> members_;
  std::vector<control::UnitFailure> failures_;
  std::unique_ptr<Restore> pending_;
  std::vector<Position> positions_;
  kernels::Buffer logits_;  ///< [heads_q, length] of the selecting members, one after the other
  kernels::Buffer scores_;
  std::vector<uint64_t> logits_at_;  ///< by member: offset in floats
};

void DecodeStep::fail(Member& member, Error why) {
  if (member.failed) return;
  member.failed = true;
  failures_.push_back({member.sequence->id(), std::move(why)});
}

void DecodeStep::place_rows() {
  for (Member& member : members_) {
    positions_.push_back(member.sequence->length);
    c_.mover.collect_puts(*member.sequence);
    for (uint32_t band = 0; band < member.readings.size(); ++band) {
      auto slot = member.sequence->kv->place(band, member.sequence->length, step_);
      if (!slot) fail(member, std::move(slot).error());
      member.new_slot.push_back(slot ? *slot : 0);
      if (member.failed) break;
    }
  }
}

Result<void> DecodeStep::reserve_scratch() {
  uint64_t floats = 0, longest = 0;
  for (Member& member : members_) {
    logits_at_.push_back(floats);
    floats += uint64_t{c_.shape.heads_q} * member.length();
    longest = std::max<uint64_t>(longest, member.length());
  }
  kernels::Device& device = *c_.backend.device;
  logits_ = EBB_TRY(device.allocate(floats * sizeof(float), kernels::MemoryKind::kDevice));
  scores_ = EBB_TRY(device.allocate(longest * sizeof(float), kernels::MemoryKind::kDevice));
  return {};
}

void DecodeStep::append(uint32_t layer) {
  const uint32_t band = c_.layout.band_of(layer);
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].failed) continue;
    const uint32_t slot = members_[i].new_slot[band];
    const uint64_t stride = c_.model.kv_stride();
    c_.backend.ops->append_kv(c_.shape, members_[i].sequence->kv->rows(layer),
                              c_.model.d_k() + i * stride, stride, c_.model.d_v() + i * stride,
                              stride, std::span(&slot, 1));
  }
}

/// Of `set`, what no layer of the band can see is not read, and so not brought back either.
void DecodeStep::want_rows(Member& member, uint32_t band, std::vector<Position> set,
                           std::vector<RestoreWant>& wants) {
  const Position first = c_.first_seen_in_band(band, member.length());
  set.erase(set.begin(), std::lower_bound(set.begin(), set.end(), first));
  BandResidency& residency = member.sequence->kv->residency(band);
  std::vector<Position> missing = residency.touch(set, step_);
  if (residency.hot()) member.sequence->counters.hot_hits += set.size() - missing.size();
  if (!missing.empty()) {
    auto admitted = residency.admit(missing, step_);
    if (!admitted) return fail(member, std::move(admitted).error());
    wants.push_back({member.sequence, band, std::move(missing)});
  }
  member.readings[band].slots = member.sequence->kv->slots(band, set);
  member.readings[band].positions = std::move(set);
  member.readings[band].ready = true;
}

void DecodeStep::await_rows() {
  if (!pending_) return;
  auto failed = c_.mover.finish(*pending_);
  pending_.reset();
  for (auto& [sequence, why] : failed) {
    for (Member& member : members_) {
      if (member.sequence == sequence) fail(member, why);
    }
  }
}

/// The slots that a follower, or a full layer over a hot pool, attends to; empty for a dense read.
std::span<const uint32_t> DecodeStep::reading(Member& member, uint32_t layer,
                                              const LayerPlan& plan) {
  const uint32_t band = c_.layout.band_of(layer);
  const bool everything = plan.reads == LayerPlan::Reads::kAll;
  if (everything && !member.sequence->kv->residency(band).hot()) return {};
  Reading& reading = member.readings[band];
  if (!reading.ready) {
    // A set that was not prepared at its anchor: everything, out of a hot pool that is large enough
    // for it.
    std::vector<Position> set;
    if (everything) {
      set.resize(member.length());
      std::iota(set.begin(), set.end(), Position{0});
    } else {
      set = member.sequence->sets[plan.anchor];
    }
    std::vector<RestoreWant> wants;
    want_rows(member, band, std::move(set), wants);
    if (!wants.empty()) {
      await_rows();
      pending_ = c_.mover.begin(std::move(wants));
    }
  }
  await_rows();
  const auto seen = std::lower_bound(reading.positions.begin(), reading.positions.end(),
                                     c_.first_seen(layer, member.length()));
  // Never empty: the newest token is in every set and in every window.
  return std::span(reading.slots).subspan(static_cast<size_t>(seen - reading.positions.begin()));
}

void DecodeStep::attend(uint32_t layer) {
  std::vector<kernels::AttendArgs> items;
  const uint64_t row = uint64_t{c_.shape.heads_q} * c_.shape.head_size;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    if (member.failed) continue;
    const LayerPlan plan = member.sequence->policy->layer_plan(layer, member.length());
    kernels::AttendArgs args;
    args.list = reading(member, layer, plan);
    if (member.failed) continue;
    args.count = args.list.empty() ? member.length() : static_cast<uint32_t>(args.list.size());
    args.window = args.list.empty() ? c_.model.shape().window(layer) : 0;
    args.kv = member.sequence->kv->rows(layer);
    args.d_q = c_.model.d_q() + i * row;
    args.d_out = c_.model.d_attention() + i * row;
    args.d_lse = c_.model.d_lse() + i * c_.shape.heads_q;
    if (plan.selects) args.d_logits = logits_.floats() + logits_at_[i];
    items.push_back(args);
  }
  if (!items.empty()) c_.backend.ops->attend(c_.shape, items);
}

void DecodeStep::select(uint32_t layer) {
  std::vector<Member*> chosen;
  std::vector<Sequence*> sequences;
  std::vector<uint32_t> lengths;
  std::vector<control::Candidates> candidates;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    if (!member.sequence->policy->layer_plan(layer, member.length()).selects) continue;
    chosen.push_back(&member);
    sequences.push_back(member.sequence);
    lengths.push_back(member.length());
    candidates.push_back(make_candidates(
        c_, *member.sequence, layer, member.length(), logits_.floats() + logits_at_[i],
        c_.model.d_lse() + i * c_.shape.heads_q, scores_.floats()));
  }
  if (chosen.empty()) return;
  auto exchanged = exchange_sets(c_, unit_, layer, sequences, lengths, std::move(candidates));
  if (!exchanged) {
    for (Member* member : chosen) fail(*member, exchanged.error());
    return;
  }
  for (Member* member : chosen) {
    if (!member->sequence->open.trace_selection) continue;
    member->result.trace.push_back({layer, member->sequence->sets[layer]});
  }
  prepare(layer, chosen);
}

/// Asks for every row that the followers of `anchor` will read and the device has not; one request
/// for all of them.
void DecodeStep::prepare(uint32_t anchor, std::span<Member* const> chosen) {
  std::vector<RestoreWant> wants;
  for (Member* member : chosen) {
    for (uint32_t band = 0; band < member->readings.size() && !member->failed; ++band) {
      const LayerPlan plan =
          member->sequence->policy->layer_plan(c_.layout.bands[band].begin, member->length());
      if (plan.reads != LayerPlan::Reads::kSet || plan.anchor != anchor) continue;
      want_rows(*member, band, member->sequence->sets[anchor], wants);
    }
  }
  if (wants.empty()) return;
  await_rows();
  pending_ = c_.mover.begin(std::move(wants));
}

Result<uint32_t> DecodeStep::run_layer(uint32_t layer) {
  const auto rows = static_cast<uint32_t>(members_.size());
  c_.model.project(layer, positions_);
  append(layer);
  attend(layer);
  if (failures_.empty()) select(layer);
  uint32_t failed = EBB_TRY(c_.model.attention_output(layer, rows, errors()));
  if (failed > 0) return failed;
  return c_.model.feed_forward(layer, rows, errors());
}

Result<void> DecodeStep::run(control::UnitResult& out) {
  c_.backend.ops->set_phase(kernels::Phase::kDecode);
  place_rows();
  EBB_TRY_VOID(reserve_scratch());
  std::vector<TokenId> ids;
  for (const Member& member : members_)
    ids.push_back(member.sequence->tokens[member.sequence->length]);
  c_.model.embed(ids);
  for (uint32_t layer = 0; layer < c_.model.shape().layers; ++layer) {
    const uint32_t failed = EBB_TRY(run_layer(layer));
    if (failed == 0) continue;
    await_rows();  // a restore in flight must land before its slots are used again
    out.failures = std::move(failures_);
    return {};
  }
  await_rows();
  return finish(out);
}

Result<void> DecodeStep::finish(control::UnitResult& out) {
  const auto rows = static_cast<uint32_t>(members_.size());
  const std::vector<float> logits = EBB_TRY(c_.model.logits(0, rows));
  std::vector<TokenId> next(rows);
  const uint64_t vocabulary = c_.model.shape().vocabulary;
  for (uint32_t i = 0; c_.rank == 0 && i < rows; ++i) {
    Member& member = members_[i];
    next[i] = next_token(*member.sequence, std::span(logits).subspan(i * vocabulary, vocabulary),
                         member.length(), member.result);
  }
  EBB_TRY_VOID(c_.model.broadcast_tokens(next));
  for (uint32_t i = 0; i < rows; ++i) {
    Sequence& sequence = *members_[i].sequence;
    sequence.length += 1;
    if (sequence.length == sequence.tokens.size()) sequence.tokens.push_back(next[i]);
    c_.mover.seal_tail(sequence);
    members_[i].result.counters = sequence.counters_now();
    out.sequences.push_back(std::move(members_[i].result));
  }
  return {};
}

}  // namespace

Result<void> run_decode(StepContext& context, UnitId unit, std::span<Sequence* const> sequences,
                        control::UnitResult& out) {
  DecodeStep step(context, unit, sequences);
  return step.run(out);
}

}  // namespace ebb::worker
