// Policies that score tokens before the step (ADORE): which released tokens come back, as rows of
// the same forward pass or as they were, what every row reads, and what stays afterwards.
#include <algorithm>
#include <memory>

#include "base/check.h"
#include "worker/decode_step.h"

namespace ebb::worker {

namespace {

/// As many of the tokens as fit one batch, with no embeddings yet.
std::vector<TokenRows> next_rows(std::span<const UnreadTokens> unread, uint32_t rows_max) {
  std::vector<TokenRows> rows;
  for (const UnreadTokens& each : unread) {
    const Position at = each.sequence->scores->length();
    const uint32_t count = std::min(rows_max, each.end - std::min(at, each.end));
    if (count == 0) continue;
    const std::span<const TokenId> tokens(each.sequence->tokens);
    rows.push_back({each.sequence->scores.get(), tokens.subspan(at, count)});
    rows_max -= count;
  }
  return rows;
}

}  // namespace

void read_tokens(StepContext& c, std::span<const UnreadTokens> unread) {
  const uint64_t width = c.model.shape().width;
  std::vector<float> copied;
  for (auto rows = next_rows(unread, c.model.rows_max()); !rows.empty();
       rows = next_rows(unread, c.model.rows_max())) {
    std::vector<TokenId> ids;
    for (const TokenRows& each : rows) ids.insert(ids.end(), each.ids.begin(), each.ids.end());
    c.model.embed(ids);
    const float* embeddings = c.model.d_x();
    if (c.scorer->reads() == kernels::MemoryKind::kHost) {
      copied.resize(ids.size() * width);
      c.backend.device->copy_to_host(copied.data(), embeddings, copied.size() * sizeof(float));
      embeddings = copied.data();
    }
    for (TokenRows& each : rows) {
      each.embeddings = embeddings;
      embeddings += each.ids.size() * width;
    }
    c.scorer->append(rows);
  }
}

void drop_unretained(StepContext& c, Sequence& sequence) {
  const uint32_t pool = sequence.token_rows();
  if (pool == 0 || sequence.history.retained.size() == sequence.length) return;
  sequence.counters.released_records +=
      sequence.kv->keep_chosen(pool, sequence.history.retained, *c.step_clock);
}

/// Scores of all members in one go: one embedding of their newest tokens, one wait for the device.
Result<void> DecodeStep::score_tokens() {
  std::vector<UnreadTokens> unread;
  std::vector<TokenScoresAt> wanted;
  for (Member& member : members_) {
    Sequence& sequence = *member.sequence;
    if (!sequence.policy->scores_tokens()) continue;
    const auto room = sequence.scores->reserve(sequence.length);
    if (!room) {
      fail(member, with_context("token scores", room.error()));
      continue;
    }
    unread.push_back({&sequence, sequence.length});
    wanted.push_back({sequence.scores.get(), sequence.length});
  }
  if (unread.empty()) return {};
  read_tokens(c_, unread);
  c_.scorer->prepare(wanted);
  return c_.backend.device->synchronize();  // no plan from a device that is lost
}

/// Before anything of the step is computed: what scores need overwrites activations. How many ranks
/// had no room for scores: such a rank does not know its rows, so the step ends here on all ranks.
Result<uint32_t> DecodeStep::plan_tokens() {
  EBB_TRY_VOID(score_tokens());
  for (Member& member : members_) {
    Sequence& sequence = *member.sequence;
    if (!sequence.policy->scores_tokens() || member.failed) continue;
    member.tokens = sequence.policy->plan_tokens(sequence.scores->at(sequence.length),
                                                 sequence.history.retained);
    if (sequence.open.policy.restores) continue;
    const auto i = static_cast<size_t>(&member - members_.data());
    for (const Position p : member.tokens.rebuilt) {
      rebuilt_.push_back({i, p});
      positions_.push_back(p);
    }
  }
  if (!second_.empty()) second_.resize(positions_.size(), Position{0});
  return check_same_plans();
}

/// Scores are computed on each rank by itself. Were they not the same bits everywhere (another
/// controller, another processor), ranks would read different tokens: three numbers of 9 bits that
/// the plans hash to, and their squares, say whether all are equal. Sums are exact up to 64 ranks.
/// How many ranks failed before is agreed upon beside it; then nothing is compared.
Result<uint32_t> DecodeStep::check_same_plans() {
  uint32_t hash = 2166136261u;
  bool any = false;
  for (const Member& member : members_) {
    if (!member.sequence->policy->scores_tokens()) continue;
    any = true;
    for (const auto* list : {&member.tokens.reads, &member.tokens.keeps}) {
      for (const Position p : *list) hash = (hash ^ p) * 16777619u;
    }
  }
  if (!any) return 0u;
  if (c_.model.share().ranks == 1) return errors();
  std::vector<float> sums;
  for (uint32_t shift : {0u, 9u, 18u}) {
    const auto part = static_cast<float>((hash >> shift) % 512);
    sums.push_back(part);
    sums.push_back(part * part);
  }
  sums.push_back(static_cast<float>(errors()));
  EBB_TRY_VOID(c_.model.sum_over_ranks(sums));
  if (sums.back() > 0) return static_cast<uint32_t>(sums.back());
  for (size_t i = 0; i + 1 < sums.size(); i += 2) {
    const double sum = sums[i], squares = sums[i + 1];
    if (c_.model.share().ranks * squares == sum * sum) continue;
    for (Member& member : members_) {
      if (!member.sequence->policy->scores_tokens()) continue;
      fail(member, internal_error("token scores differ between ranks: do all workers have the same "
                                  "controller (model.controller) and processor?"));
    }
    break;
  }
  return 0u;
}

/// Slots of what the step reads; one request for all that the store has to bring back, which
/// travels while the first layers run.
void DecodeStep::place_tokens() {
  std::vector<RestoreWant> wants;
  for (Member& member : members_) {
    if (!member.failed && member.sequence->policy->scores_tokens()) place_tokens_of(member, wants);
  }
  c_.lists.make();
  if (!wants.empty()) pending_ = c_.mover.begin(std::move(wants));
}

/// A token that is computed again gets a slot in every pool.
void DecodeStep::place_tokens_of(Member& member, std::vector<RestoreWant>& wants) {
  Sequence& sequence = *member.sequence;
  const uint32_t pool = sequence.token_rows();
  if (pool > 0 && member.length() > sequence.open.policy.budget) {
    auto room = sequence.kv->reserve(pool);  // for when this step lets go of its first token
    if (!room) return fail(member, std::move(room).error());
  }
  const auto reads = std::make_shared<const std::vector<Position>>(member.tokens.reads);
  for (uint32_t band = 0; band < member.readings.size() && !member.failed; ++band) {
    BandResidency& residency = sequence.kv->residency(band);
    if (residency.hot()) {
      want_rows(member, band, 0, reads, wants);
      continue;
    }
    const auto missing = residency.touch(member.tokens.reads, clock_);
    if (!missing.empty()) {
      auto admitted = residency.admit(missing, clock_);
      if (!admitted) return fail(member, std::move(admitted).error());
    }
    member.readings[band].positions = reads;
    list_slots(member, band);
  }
}

/// What the row of the token at `position` reads in `layer`: what the step reads up to itself, as
/// far as the layer's window reaches.
void DecodeStep::read_tokens_of(const Member& member, uint32_t layer, Position position,
                                kernels::AttendArgs& args) const {
  const Reading& reading = member.readings[c_.layout.band_of(layer)];
  const auto& all = *reading.positions;
  const auto seen = std::lower_bound(all.begin(), all.end(), c_.first_seen(layer, position + 1));
  const auto end = std::upper_bound(all.begin(), all.end(), position);
  args.d_list = reading.d_slots + (seen - all.begin());
  args.count = static_cast<uint32_t>(end - seen);
}

void DecodeStep::append_rebuilt(uint32_t layer, std::vector<kernels::AppendArgs>& rows) {
  const uint32_t band = c_.layout.band_of(layer);
  for (size_t i = 0; i < rebuilt_.size(); ++i) {
    const Member& member = members_[rebuilt_[i].member];
    if (member.failed) continue;
    const SequenceKv& kv = *member.sequence->kv;
    rebuilt_[i].slot = kv.residency(band).slot(rebuilt_[i].position);
    rows.push_back(new_row(kv.rows(layer), members_.size() + i, rebuilt_[i].slot));
  }
}

void DecodeStep::attend_rebuilt(uint32_t layer) {
  std::vector<kernels::AttendArgs> items;
  for (size_t i = 0; i < rebuilt_.size(); ++i) {
    Rebuilt& row = rebuilt_[i];
    Member& member = members_[row.member];
    if (member.failed) continue;
    kernels::AttendArgs args = args_of_row(*member.sequence, layer, members_.size() + i);
    args.d_q_alt = nullptr;
    read_tokens_of(member, layer, row.position, args);
    const uint32_t length = row.position + 1;
    const bool dense = args.count == length - c_.first_seen(layer, length);
    if (dense && row.dense_layers == layer) row.dense_layers = layer + 1;
    count_bytes(member, uint64_t{args.count} * c_.shape.row_bytes());
    items.push_back(args);
  }
  if (!items.empty()) c_.backend.ops->attend(c_.shape, items);
}

/// The step has succeeded: what became of the tokens that came back.
void DecodeStep::record_tokens(Member& member) {
  Sequence& sequence = *member.sequence;
  if (!sequence.policy->scores_tokens()) return;
  const auto i = static_cast<size_t>(&member - members_.data());
  for (const Rebuilt& row : rebuilt_) {
    if (row.member == i) sequence.exactness.remake(row.position, row.dense_layers);
  }
  sequence.counters.rebuilt_tokens += member.tokens.rebuilt.size();
  sequence.counters.selected_tokens += member.tokens.reads.size();
  if (sequence.open.trace_selection) {
    TokenSet set;
    set.lists.push_back(member.tokens.keeps);
    trace_set(c_, 0, set, member.result);
  }
  member.made.retained = std::move(member.tokens.keeps);
}

}  // namespace ebb::worker
