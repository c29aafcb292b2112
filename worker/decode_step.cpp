#include "worker/decode_step.h"

#include <algorithm>
#include <bit>

#include "worker/observer.h"

namespace ebb::worker {

DecodeStep::DecodeStep(StepContext& context, UnitId unit, std::span<Sequence* const> sequences)
    : c_(context), unit_(unit), clock_(++*context.step_clock) {
  for (Sequence* sequence : sequences) {
    Member member;
    member.sequence = sequence;
    member.step = sequence->next_step();
    member.readings.resize(sequence->kv->band_count());
    member.result.seq = sequence->id();
    positions_.push_back(sequence->length);
    members_.push_back(std::move(member));
  }
  bool wanted = false;
  for (const Member& member : members_) {
    const auto at = member.sequence->policy->second_query(member.sequence->length);
    second_.push_back(at.value_or(Position{0}));
    wanted = wanted || at.has_value();
  }
  if (!wanted) second_.clear();
}

void DecodeStep::fail(Member& member, Error why) {
  if (member.failed) return;
  member.failed = true;
  failures_.push_back({member.sequence->id(), std::move(why)});
}

void DecodeStep::place_rows() {
  for (Member& member : members_) {
    c_.mover.collect_puts(*member.sequence);
    for (uint32_t band = 0; band < member.readings.size(); ++band) {
      auto slot = member.sequence->kv->place(band, member.sequence->length, clock_);
      if (!slot) fail(member, std::move(slot).error());
      member.new_slot.push_back(slot ? *slot : 0);
      if (member.failed) break;
    }
    if (member.failed || !member.sequence->aids) continue;
    const auto added = member.sequence->aids->reserve(member.length());
    if (!added) fail(member, added.error());
    if (added) member.sequence->kv->add_foreign_blocks(*added);
  }
}

Result<void> DecodeStep::reserve_scratch() {
  uint64_t floats = 0, scores = 0;
  for (Member& member : members_) {
    uint64_t own_scores = 0;
    for (uint32_t layer = 0; layer < c_.model.shape().layers; ++layer) {
      const AttentionPolicy& policy = *member.sequence->policy;
      const LayerPlan plan = policy.plan(layer, member.step);
      if (!plan.selects && !plan.checks) continue;
      const uint32_t scored = std::max<uint32_t>(1, plan.scans.size());
      member.scored_layers = std::max(member.scored_layers, scored);
      const Selection choice = policy.selection(layer, member.length());
      own_scores = std::max(own_scores, score_floats(c_.shape, choice, member.length()));
    }
    if (member.scored_layers == 0) continue;
    const uint64_t heads = uint64_t{member.scored_layers} * c_.shape.heads_q;
    member.logits_at = floats;
    member.lse_at = floats + heads * member.length();
    floats = member.lse_at + heads;
    member.scores_at = scores;
    scores += own_scores;
  }
  if (floats == 0) return {};
  kernels::Device& device = *c_.backend.device;
  logits_ = EBB_TRY(device.allocate(floats * sizeof(float), kernels::MemoryKind::kDevice));
  scores_ = EBB_TRY(
      device.allocate(std::max<uint64_t>(scores, 1) * sizeof(float), kernels::MemoryKind::kDevice));
  return {};
}

void DecodeStep::append(uint32_t layer) {
  const uint32_t band = c_.layout.band_of(layer);
  std::vector<kernels::AppendArgs> rows;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].failed) continue;
    rows.push_back(new_row(members_[i].sequence->kv->rows(layer), i, members_[i].new_slot[band]));
  }
  append_rebuilt(layer, rows);
  c_.backend.ops->append_kv(c_.shape, rows);
  append_digests(layer);
}

void DecodeStep::append_digests(uint32_t layer) {
  const uint32_t band = c_.layout.band_of(layer);
  std::map<kernels::DigestFormat, std::vector<kernels::DigestArgs>> items;
  for (const Member& member : members_) {
    const Sequence& sequence = *member.sequence;
    if (member.failed || !sequence.aids) continue;
    const auto digest = sequence.aids->new_digest(layer, sequence.kv->rows(layer),
                                                  member.new_slot[band], sequence.length);
    if (digest) items[sequence.aids->digest_shape().format].push_back(*digest);
  }
  for (const auto& [format, of_format] : items) {
    const kernels::DigestShape shape{format, c_.shape.heads_kv, c_.shape.head_size};
    c_.backend.ops->write_digest(c_.shape, shape, of_format);
  }
}

/// `slot` stays where it is until the row is appended.
kernels::AppendArgs DecodeStep::new_row(const kernels::KvRows& kv, size_t row,
                                        const uint32_t& slot) const {
  const uint64_t stride = c_.model.kv_stride();
  return {kv,     c_.model.d_k() + row * stride,
          stride, c_.model.d_v() + row * stride,
          stride, std::span(&slot, 1)};
}

/// Every member's plan for this layer. A member that failed here takes part in the sum over ranks
/// all the same: on the other ranks it may not have failed.
Result<void> DecodeStep::decide(uint32_t layer) {
  const uint64_t row = uint64_t{c_.shape.heads_q} * c_.shape.head_size;
  std::vector<Member*> checked;
  std::vector<const float*> d_rows;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    const AttentionPolicy& policy = *member.sequence->policy;
    member.plan = policy.plan(layer, member.step);
    if (!member.plan.checks) continue;
    checked.push_back(&member);
    d_rows.push_back((policy.checks_second_query() ? c_.model.d_q_second() : c_.model.d_q()) +
                     i * row);
  }
  if (checked.empty()) return {};
  auto means = EBB_TRY(mean_queries(c_, d_rows));
  for (size_t i = 0; i < checked.size(); ++i) {
    Member& member = *checked[i];
    member.plan = member.sequence->policy->at_query(layer, member.step, means[i],
                                                    member.sequence->history.queries.at(layer));
    if (member.plan.selects) member.made.queries[layer] = std::move(means[i]);
  }
  return {};
}

/// Where member's queries come from and its output goes.
kernels::AttendArgs DecodeStep::args_of(const Member& member, uint32_t layer) const {
  return args_of_row(*member.sequence, layer, static_cast<uint64_t>(&member - members_.data()));
}

kernels::AttendArgs DecodeStep::args_of_row(const Sequence& sequence, uint32_t layer,
                                            uint64_t row) const {
  const uint64_t at = row * c_.shape.heads_q * c_.shape.head_size;
  kernels::AttendArgs args;
  args.kv = sequence.kv->rows(layer);
  args.d_q = c_.model.d_q() + at;
  if (!second_.empty()) args.d_q_alt = c_.model.d_q_second() + at;
  args.d_out = c_.model.d_attention() + at;
  args.d_lse = c_.model.d_lse() + row * c_.shape.heads_q;
  return args;
}

void DecodeStep::attend(uint32_t layer) {
  std::vector<kernels::AttendArgs> items;
  std::vector<const Member*> reading;
  for (Member& member : members_) {
    if (member.failed || member.scans()) continue;
    kernels::AttendArgs args = args_of(member, layer);
    if (member.scores_first(layer)) {
      args.count = member.length();
      count_bytes(member, uint64_t{args.count} * c_.shape.row_bytes());
    } else if (!read(member, layer, args)) {
      continue;
    }
    if (args.alt_count == 0) args.d_q_alt = nullptr;
    if (member.plan.selects) args.d_logits = logits_.floats() + member.logits_at;
    items.push_back(args);
    reading.push_back(&member);
  }
  attend_items(layer, items, reading);
  attend_rebuilt(layer);
}

/// Attention, and then what stands for the tokens that were left out of the lists.
void DecodeStep::attend_items(uint32_t layer, std::span<const kernels::AttendArgs> items,
                              std::span<const Member* const> members) {
  if (items.empty()) return;
  c_.lists.make();
  c_.backend.ops->attend(c_.shape, items);
  std::vector<kernels::LeftOutArgs> left_out;
  for (size_t i = 0; i < items.size(); ++i) {
    const Member& member = *members[i];
    const bool estimates = member.plan.left_out && items[i].listed();
    if (!estimates) continue;
    kernels::LeftOutArgs args;
    args.d_q = items[i].d_q;
    args.kv = items[i].kv;
    args.d_slots = items[i].d_list;
    args.positions = member.read;
    args.d_positions = member.d_read;
    args.length = member.sequence->length;  // the newest token is in no sum yet
    args.sums = member.sequence->aids->sums(layer);
    args.d_out = items[i].d_out;
    args.d_lse = items[i].d_lse;
    left_out.push_back(args);
  }
  if (!left_out.empty()) c_.backend.ops->attend_left_out(c_.shape, left_out);
}

/// Scores from digests. Queries of layers above are those that the residual stream gives here.
void DecodeStep::scan(uint32_t layer) {
  uint32_t end = layer;
  for (Member& member : members_) {
    if (!member.scans()) continue;
    end = std::max<uint32_t>(end, member.plan.scans.end);
    const uint64_t digests = uint64_t{member.plan.scans.size()} * member.scored();
    count_bytes(member, digests * member.sequence->aids->digest_shape().token_bytes());
  }
  for (uint32_t scanned = layer; scanned < end; ++scanned) {
    if (scanned > layer) c_.model.project_queries(scanned, positions_);
    scan_layer(layer, scanned);
  }
}

void DecodeStep::scan_layer(uint32_t layer, uint32_t scanned) {
  const uint64_t row = uint64_t{c_.shape.heads_q} * c_.shape.head_size;
  const float* d_q = scanned == layer ? c_.model.d_q() : c_.model.d_q_second();
  std::map<kernels::DigestFormat, std::vector<kernels::ScanArgs>> items;
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (member.failed || !member.scans() || scanned >= member.plan.scans.end) continue;
    const uint64_t before = uint64_t{scanned - layer} * c_.shape.heads_q;
    const SelectionAids& aids = *member.sequence->aids;
    kernels::ScanArgs args;
    args.d_q = d_q + i * row;
    args.digests = aids.digests(scanned);
    args.count = member.scored();
    args.d_logits = logits_.floats() + member.logits_at + before * member.scored();
    args.d_lse = logits_.floats() + member.lse_at + before;
    items[aids.digest_shape().format].push_back(args);
  }
  for (const auto& [format, of_format] : items) {
    const kernels::DigestShape shape{format, c_.shape.heads_kv, c_.shape.head_size};
    c_.backend.ops->scan_digests(c_.shape, shape, of_format);
  }
}

/// Members that scored everything in order to attend to the best of it.
void DecodeStep::attend_chosen(uint32_t layer) {
  std::vector<kernels::AttendArgs> items;
  std::vector<const Member*> reading;
  for (Member& member : members_) {
    if (member.failed || !member.scores_first(layer)) continue;
    kernels::AttendArgs args = args_of(member, layer);
    args.d_q_alt = nullptr;
    if (!read(member, layer, args)) continue;
    items.push_back(args);
    reading.push_back(&member);
  }
  attend_items(layer, items, reading);
}

void DecodeStep::select(uint32_t layer) {
  std::vector<Member*> chosen;
  std::vector<Chooser> choosers;
  for (Member& member : members_) {
    if (!member.plan.selects) continue;
    const uint32_t layers = std::max<uint32_t>(1, member.plan.scans.size());
    const float* d_lse =
        member.scans() ? logits_.floats() + member.lse_at : args_of(member, layer).d_lse;
    chosen.push_back(&member);
    choosers.push_back({member.sequence, member.step, layer, member.scored(),
                        layers * c_.shape.heads_q, logits_.floats() + member.logits_at, d_lse,
                        scores_.floats() + member.scores_at});
  }
  if (chosen.empty()) return;
  auto sets = choose_sets(c_, unit_, layer, choosers);
  if (!sets) {
    for (Member* member : chosen) fail(*member, sets.error());
    return;
  }
  for (size_t i = 0; i < chosen.size(); ++i) {
    Member& member = *chosen[i];
    if (member.sequence->open.trace_selection) {
      trace_set(c_, layer, (*sets)[i], member.result);
    }
    member.made.sets[layer] = std::move((*sets)[i]);
  }
  prepare(layer, chosen);
}

Result<uint32_t> DecodeStep::run_layer(uint32_t layer) {
  const auto rows = static_cast<uint32_t>(positions_.size());
  c_.model.project(layer, positions_, second_);
  append(layer);
  EBB_TRY_VOID(decide(layer));
  attend(layer);
  scan(layer);
  if (failures_.empty()) select(layer);
  if (failures_.empty()) attend_chosen(layer);
  if (c_.observer != nullptr && failures_.empty()) EBB_TRY_VOID(observe(layer));
  take_landed(layer + 1 == c_.model.shape().layers);  // the last sum but one of the step
  uint32_t failed = EBB_TRY(c_.model.attention_output(layer, rows, errors()));
  if (failed > 0) return failed;
  return c_.model.feed_forward(layer, rows, errors());
}

Result<void> DecodeStep::run(control::UnitResult& out) {
  c_.backend.ops->set_phase(kernels::Phase::kDecode);
  c_.lists.begin_step();
  if (EBB_TRY(plan_tokens()) > 0) {
    out.failures = std::move(failures_);
    return {};
  }
  place_rows();
  place_tokens();
  EBB_TRY_VOID(reserve_scratch());
  std::vector<TokenId> ids;
  for (const Member& member : members_)
    ids.push_back(member.sequence->tokens[member.sequence->length]);
  for (const Rebuilt& row : rebuilt_)
    ids.push_back(members_[row.member].sequence->tokens[row.position]);
  c_.model.embed(ids);
  const uint32_t failed = EBB_TRY(run_layers());
  await_rows();  // a restore in flight must land before its slots are used again
  take_landed(true);
  if (failed == 0) return finish(out);
  out.failures = std::move(failures_);
  return {};
}

/// Up to the first layer in which a rank failed; how many did.
Result<uint32_t> DecodeStep::run_layers() {
  Result<uint32_t> failed = 0u;
  for (uint32_t layer = 0; layer < c_.model.shape().layers; ++layer) {
    const auto run_it = [&] { failed = run_layer(layer); };
    c_.backend.ops->replayable(key(layer), std::ref(run_it));  // a reference: nothing is allocated
    if (!failed || *failed > 0) break;
  }
  return failed;
}

/// Where x lies tells models on one backend apart.
uint64_t DecodeStep::key(uint32_t part) const {
  const auto model = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(c_.model.d_x()));
  const auto rows = static_cast<uint64_t>(std::bit_width(positions_.size() - 1));
  return model << 20 ^ uint64_t { part } << 8 ^ rows;
}

Result<void> DecodeStep::finish(control::UnitResult& out) {
  const auto rows = static_cast<uint32_t>(members_.size());
  std::vector<NextRow> wanted;
  for (Member& member : members_) {
    wanted.push_back({member.sequence, member.length(), &member.result, c_.observer != nullptr});
  }
  std::vector<TokenId> next = EBB_TRY(next_tokens(c_, 0, wanted));
  for (const Member& member : members_) {
    if (c_.rank > 0 || c_.observer == nullptr) break;
    c_.observer->on_bytes(member.sequence->id(), member.bytes_read, member.bytes_dense);
  }
  EBB_TRY_VOID(c_.model.broadcast_tokens(next));
  add_sums();
  for (uint32_t i = 0; i < rows; ++i) {
    Member& member = members_[i];
    Sequence& sequence = *member.sequence;
    sequence.length += 1;
    if (sequence.length == sequence.tokens.size()) sequence.tokens.push_back(next[i]);
    record_tokens(member);
    sequence.exactness.add(sequence.length, member.dense_layers);
    sequence.policy->after_step(member.step, std::move(member.made), sequence.history);
    drop_unretained(c_, sequence);
    c_.mover.seal_tail(sequence);
    EBB_TRY_VOID(correct(sequence));
    member.result.counters = sequence.counters_now();
    out.sequences.push_back(std::move(member.result));
  }
  return {};
}

/// Now that the step has succeeded: a step that is run again must not add its rows twice.
void DecodeStep::add_sums() {
  std::vector<kernels::SumArgs> items;
  for (const Member& member : members_) {
    const Sequence& sequence = *member.sequence;
    for (uint32_t layer = 0; sequence.aids && layer < c_.model.shape().layers; ++layer) {
      const auto sum =
          sequence.aids->new_sum(layer, sequence.kv->rows(layer),
                                 member.new_slot[c_.layout.band_of(layer)], sequence.length);
      if (sum) items.push_back(*sum);
    }
  }
  if (!items.empty()) c_.backend.ops->add_sums(c_.shape, items);
}

/// Every rank counts the same tokens, so every rank corrects after the same step.
Result<void> DecodeStep::correct(Sequence& sequence) {
  const uint32_t every = sequence.policy->correct_every();
  const Position begin = sequence.exactness.first_polluted();
  if (every == 0 || sequence.length - begin < every) return {};
  return run_correction(c_, sequence, begin);
}

Result<void> run_decode(StepContext& context, UnitId unit, std::span<Sequence* const> sequences,
                        control::UnitResult& out) {
  DecodeStep step(context, unit, sequences);
  Result<void> ran;
  const auto run_it = [&] { ran = step.run(out); };
  context.backend.ops->replayable(step.key(DecodeStep::kWhole), std::ref(run_it));
  return ran;
}

}  // namespace ebb::worker
