// Attention over many tokens, chunk by chunk, through all layers or band by band: dense, and then
// the records that a chunk makes are exact; or sinks and window row by row, where the policy never
// reads more. Nothing is restored.
#include <algorithm>

#include "worker/step.h"

namespace ebb::worker {
namespace {

class BulkChunk {
 public:
  BulkChunk(StepContext& context, UnitId unit, Sequence& sequence, const control::BulkUnit& bulk)
      : c_(context),
        unit_(unit),
        sequence_(sequence),
        bulk_(bulk),
        step_(++*context.step_clock),
        rows_(bulk.tokens.size()),
        pattern_(sequence.policy->sinks_window()) {}

  Result<void> run(control::UnitResult& out);

 private:
  Result<void> check() const;
  Result<void> load_input();
  Result<void> make_room();
  Result<uint32_t> run_layer(uint32_t layer);
  void place_second_queries();
  void attend_dense(uint32_t layer);
  void attend_pattern(uint32_t layer);
  Result<void> remember_query(uint32_t layer);
  Result<void> select(uint32_t layer);
  void record_exactness();
  Result<void> score(control::SequenceResult& result);
  void score_tokens();
  /// Once for each token, with the first layers.
  bool scores_tokens() const {
    return bulk_.layers.begin == 0 && sequence_.policy->scores_tokens();
  }
  bool last_chunk() const { return bulk_.tokens.end == sequence_.bulk_end(); }
  /// Some row's logits are wanted.
  bool scores_rows() const { return last_chunk() || sequence_.open.sampling.prompt_logprobs; }
  /// Sets that outlive steps begin with the last row's; in a band-by-band pass the last row's set
  /// also seeds hot pools.
  bool last_row_chooses() const {
    return last_chunk() && (!all_layers() || sequence_.policy->keeps_sets());
  }
  /// Tokens from here on do not read everything before them.
  Position first_sparse() const {
    return pattern_ ? pattern_->sinks + pattern_->window + 1 : bulk_.tokens.end;
  }
  bool all_layers() const {
    return bulk_.layers.begin == 0 && bulk_.layers.end == c_.model.shape().layers;
  }

  StepContext& c_;
  UnitId unit_;
  Sequence& sequence_;
  const control::BulkUnit& bulk_;
  uint64_t step_;
  uint32_t rows_;
  std::optional<SinksWindow> pattern_;
  std::vector<Position> positions_;
  std::vector<Position> second_;  ///< where second queries stand, of the last rows
  kernels::Buffer logits_;
  Result<void> problem_;  ///< this rank's, which ends the unit on all ranks
};

Result<void> BulkChunk::check() const {
  const auto text = [](uint32_t a, uint32_t b) {
    return "[" + std::to_string(a) + ", " + std::to_string(b) + ")";
  };
  if (bulk_.tokens.begin >= bulk_.tokens.end || bulk_.tokens.end > sequence_.bulk_end() ||
      rows_ > c_.model.rows_max()) {
    return invalid("bulk unit: tokens " + text(bulk_.tokens.begin, bulk_.tokens.end) +
                   " of a bulk pass over " + std::to_string(sequence_.bulk_end()) + ", at most " +
                   std::to_string(c_.model.rows_max()) + " at once");
  }
  if (bulk_.layers.begin >= bulk_.layers.end || bulk_.layers.end > c_.model.shape().layers) {
    return invalid("bulk unit: layers " + text(bulk_.layers.begin, bulk_.layers.end) + " of " +
                   std::to_string(c_.model.shape().layers));
  }
  const uint32_t band = c_.layout.band_of(bulk_.layers.begin);
  if (sequence_.kv->residency(band).length() != bulk_.tokens.begin) {
    return invalid("bulk unit: tokens from " + std::to_string(bulk_.tokens.begin) + ", but band " +
                   std::to_string(band) + " has " +
                   std::to_string(sequence_.kv->residency(band).length()));
  }
  if (pattern_ && bulk_.tokens.end > sequence_.open.policy.kept &&
      rows_ > sequence_.open.policy.kept - pattern_->sinks - pattern_->window) {
    return invalid("bulk unit: " + std::to_string(rows_) + " tokens overwrite what they read: " +
                   std::to_string(sequence_.open.policy.kept) + " rows are kept");
  }
  return {};
}

Result<void> BulkChunk::load_input() {
  if (bulk_.layers.begin == 0) {
    c_.model.embed(std::span<const TokenId>(sequence_.tokens).subspan(bulk_.tokens.begin, rows_));
    return {};
  }
  EBB_CHECK(sequence_.kept != nullptr);
  if (c_.model.share().ranks == 1) {
    sequence_.kept->load(bulk_.tokens, c_.model.d_x());
    return {};
  }
  return c_.model.gather_rows(rows_,
                              [&](float* d_rows) { sequence_.kept->load(bulk_.tokens, d_rows); });
}

Result<void> BulkChunk::make_room() {
  if (scores_tokens()) {
    // For the whole prompt, so that memory does not grow chunk by chunk.
    const auto room = sequence_.scores->reserve(sequence_.bulk_end());
    if (!room) return with_context("token scores", room.error());
  }
  for (uint32_t layer = bulk_.layers.begin; layer < bulk_.layers.end;) {
    const uint32_t band = c_.layout.band_of(layer);
    EBB_TRY_VOID(sequence_.kv->extend(band, bulk_.tokens, step_));
    layer = c_.layout.bands[band].end;
  }
  if (bulk_.layers.end < c_.model.shape().layers) {
    if (!sequence_.kept) {
      sequence_.kept = std::make_unique<KeptActivations>(
          c_.arena, *c_.backend.device, c_.layout.kept_heads_of(c_.rank), c_.layout.kept_heads(),
          c_.model.shape().width * static_cast<uint32_t>(sizeof(float)));
    }
    const uint32_t before = sequence_.kept->blocks();
    EBB_TRY_VOID(sequence_.kept->reserve(bulk_.tokens.end));
    sequence_.kv->add_foreign_blocks(int64_t{sequence_.kept->blocks()} - before);
  }
  if (last_chunk() && sequence_.aids) {
    const uint32_t added = EBB_TRY(sequence_.aids->reserve(bulk_.tokens.end));
    sequence_.kv->add_foreign_blocks(added);
  }
  if (last_chunk() && bulk_.tokens.end > sequence_.open.policy.budget) {
    EBB_TRY_VOID(sequence_.kv->reserve(sequence_.token_rows()));
  }
  if (last_row_chooses()) {
    // Logits, and the scores of as many lists as there may be.
    const uint64_t floats = uint64_t{c_.shape.heads_q + c_.shape.heads_kv} * bulk_.tokens.end;
    logits_ =
        EBB_TRY(c_.backend.device->allocate(floats * sizeof(float), kernels::MemoryKind::kDevice));
  }
  return {};
}

void BulkChunk::place_second_queries() {
  const AttentionPolicy& policy = *sequence_.policy;
  if (pattern_ && bulk_.tokens.end > first_sparse()) {
    for (Position p : positions_) second_.push_back(pattern_->slot(p));
  } else if (last_row_chooses() && policy.remembers_queries()) {
    if (const auto at = policy.second_query(positions_.back())) second_.push_back(*at);
  }
}

Result<uint32_t> BulkChunk::run_layer(uint32_t layer) {
  c_.model.project(layer, positions_, second_);
  const uint64_t stride = c_.model.kv_stride();
  const auto slots = sequence_.kv->slots(c_.layout.band_of(layer), positions_);
  const kernels::AppendArgs fresh{
      sequence_.kv->rows(layer), c_.model.d_k(), stride, c_.model.d_v(), stride, slots};
  c_.backend.ops->append_kv(c_.shape, std::span(&fresh, 1));
  if (last_row_chooses() && sequence_.policy->remembers_queries()) {
    EBB_TRY_VOID(remember_query(layer));
  }
  // What the last layer gives is read only where a token is scored.
  if (layer + 1 == c_.model.shape().layers && !scores_rows()) return 0u;
  if (bulk_.tokens.end > first_sparse()) {
    attend_pattern(layer);
  } else {
    attend_dense(layer);
  }
  if (last_chunk() && sequence_.aids) {
    sequence_.aids->fill(layer, sequence_.kv->rows(layer), bulk_.tokens.end);
  }
  const uint32_t failed = EBB_TRY(c_.model.attention_output(layer, rows_, problem_ ? 0 : 1));
  if (failed > 0) return failed;
  return c_.model.feed_forward(layer, rows_, 0);
}

void BulkChunk::attend_dense(uint32_t layer) {
  const bool selects =
      last_row_chooses() && sequence_.policy->selects_after_bulk(layer, bulk_.tokens.end);
  kernels::AttendArgs args;
  args.d_q = c_.model.d_q();
  args.rows = rows_;
  args.kv = sequence_.kv->rows(layer);
  args.count = bulk_.tokens.end;
  args.window = c_.model.shape().window(layer);
  args.d_out = c_.model.d_attention();
  args.d_lse = c_.model.d_lse();
  if (selects) args.d_logits = logits_.floats();
  c_.backend.ops->attend(c_.shape, std::span(&args, 1));
  if (selects) problem_ = select(layer);
}

/// Every row by itself over its own sinks and window, as a decode step would read them. Lists of a
/// few rows at a time.
void BulkChunk::attend_pattern(uint32_t layer) {
  constexpr uint32_t kRows = 64;
  const uint64_t row = uint64_t{c_.shape.heads_q} * c_.shape.head_size;
  const BandResidency& ring = sequence_.kv->residency(c_.layout.band_of(layer));
  for (uint32_t done = 0; done < rows_; done += kRows) {
    const uint32_t count = std::min(kRows, rows_ - done);
    std::vector<PatternRead> reads;
    std::vector<kernels::AttendArgs> items;
    for (uint32_t i = done; i < done + count; ++i) {
      reads.push_back(read_pattern(*pattern_, ring, positions_[i]));
    }
    for (uint32_t i = done; i < done + count; ++i) {
      kernels::AttendArgs args = cut_pattern(reads[i - done], c_.model.shape().window(layer));
      args.kv = sequence_.kv->rows(layer);
      args.d_q = c_.model.d_q() + i * row;
      args.d_q_alt = args.alt_count > 0 ? c_.model.d_q_second() + i * row : nullptr;
      args.d_out = c_.model.d_attention() + i * row;
      args.d_lse = c_.model.d_lse() + uint64_t{i} * c_.shape.heads_q;
      items.push_back(args);
    }
    c_.backend.ops->attend(c_.shape, items);
  }
}

Result<void> BulkChunk::remember_query(uint32_t layer) {
  const uint64_t row = uint64_t{c_.shape.heads_q} * c_.shape.head_size;
  const float* d_row = sequence_.policy->checks_second_query()
                           ? c_.model.d_q_second()
                           : c_.model.d_q() + uint64_t{rows_ - 1} * row;
  auto means = EBB_TRY(mean_queries(c_, std::span(&d_row, 1)));
  sequence_.history.queries[layer] = std::move(means[0]);
  return {};
}

Result<void> BulkChunk::select(uint32_t layer) {
  const uint32_t length = bulk_.tokens.end;
  const Chooser chooser{&sequence_,
                        {length, 0},
                        layer,
                        length,
                        c_.shape.heads_q,
                        logits_.floats(),
                        c_.model.d_lse() + uint64_t{rows_ - 1} * c_.shape.heads_q,
                        logits_.floats() + uint64_t{c_.shape.heads_q} * length};
  auto sets = EBB_TRY(choose_sets(c_, unit_, layer, std::span(&chooser, 1)));
  sequence_.policy->after_bulk(layer, length, std::move(sets[0]), sequence_.history);
  return {};
}

/// The first layers' units say what their tokens will be in all layers; nothing is sealed before.
void BulkChunk::record_exactness() {
  if (bulk_.layers.begin > 0) return;
  const Position dense_end = std::min(bulk_.tokens.end, first_sparse());
  if (dense_end > bulk_.tokens.begin) sequence_.exactness.add(dense_end, c_.model.shape().layers);
  if (bulk_.tokens.end > std::max(dense_end, bulk_.tokens.begin)) {
    sequence_.exactness.add(bulk_.tokens.end, 0);
  }
}

/// Rank 0: log-probabilities of the prompt's tokens that this chunk predicts, and what follows the
/// last of them.
Result<void> BulkChunk::score(control::SequenceResult& result) {
  if (!scores_rows()) return {};
  const uint32_t first = sequence_.open.sampling.prompt_logprobs ? 0 : rows_ - 1;
  constexpr uint32_t kRows = 32;
  TokenId next = 0;
  for (uint32_t done = first; done < rows_; done += kRows) {
    const uint32_t count = std::min(kRows, rows_ - done);
    std::vector<NextRow> wanted;
    for (uint32_t i = 0; i < count; ++i) {
      wanted.push_back({&sequence_, bulk_.tokens.begin + done + i + 1, &result});
    }
    next = EBB_TRY(next_tokens(c_, done, wanted)).back();
  }
  if (!last_chunk()) return {};
  EBB_TRY_VOID(c_.model.broadcast_tokens(std::span(&next, 1)));
  sequence_.length = bulk_.tokens.end;
  if (sequence_.length == sequence_.tokens.size()) sequence_.tokens.push_back(next);
  if (sequence_.kept) {
    sequence_.kv->add_foreign_blocks(-int64_t{sequence_.kept->blocks()});
    sequence_.kept.reset();
  }
  return {};
}

/// Chunk by chunk; the last one says what is retained, before any band is released. Overwrites the
/// activations.
void BulkChunk::score_tokens() {
  const UnreadTokens unread{&sequence_, bulk_.tokens.end};
  read_tokens(c_, std::span(&unread, 1));
  if (!last_chunk()) return;
  sequence_.history.retained = sequence_.policy->first_kept(sequence_.scores->at(bulk_.tokens.end));
  drop_unretained(c_, sequence_);
}

Result<void> BulkChunk::run(control::UnitResult& out) {
  control::SequenceResult result;
  result.seq = sequence_.id();
  c_.backend.ops->set_phase(kernels::Phase::kBulk);
  problem_ = check();
  if (problem_) problem_ = make_room();
  uint32_t failed = EBB_TRY(c_.model.agree(problem_ ? 0 : 1));
  for (Position p = bulk_.tokens.begin; p < bulk_.tokens.end; ++p) positions_.push_back(p);
  if (failed == 0) place_second_queries();
  if (failed == 0) EBB_TRY_VOID(load_input());
  for (uint32_t layer = bulk_.layers.begin; failed == 0 && layer < bulk_.layers.end; ++layer) {
    failed = EBB_TRY(run_layer(layer));
  }
  if (failed > 0) {
    if (!problem_) out.failures.push_back({sequence_.id(), problem_.error()});
    return {};
  }
  record_exactness();
  if (bulk_.layers.end < c_.model.shape().layers) {
    sequence_.kept->save(bulk_.tokens, c_.model.d_x());
  } else {
    EBB_TRY_VOID(score(result));
  }
  if (scores_tokens()) score_tokens();
  result.counters = sequence_.counters_now();
  out.sequences.push_back(std::move(result));
  return {};
}

/// Tokens `chunk` of a correction through all layers. Rows of layers that are exact stay as they
/// are.
Result<void> correct_chunk(StepContext& c, Sequence& sequence, TokenRange chunk,
                           uint32_t exact_layers) {
  std::vector<Position> positions;
  for (Position p = chunk.begin; p < chunk.end; ++p) positions.push_back(p);
  c.model.embed(std::span<const TokenId>(sequence.tokens).subspan(chunk.begin, chunk.size()));
  const uint64_t stride = c.model.kv_stride();
  for (uint32_t layer = 0; layer < c.model.shape().layers; ++layer) {
    c.model.project(layer, positions);
    const kernels::KvRows kv = sequence.kv->rows(layer);
    if (layer >= exact_layers) {
      const kernels::AppendArgs fresh{kv, c.model.d_k(), stride, c.model.d_v(), stride, positions};
      c.backend.ops->append_kv(c.shape, std::span(&fresh, 1));
    }
    kernels::AttendArgs args;
    args.d_q = c.model.d_q();
    args.rows = chunk.size();
    args.kv = kv;
    args.count = chunk.end;
    args.window = c.model.shape().window(layer);
    args.d_out = c.model.d_attention();
    args.d_lse = c.model.d_lse();
    c.backend.ops->attend(c.shape, std::span(&args, 1));
    EBB_TRY(c.model.attention_output(layer, chunk.size(), 0));
    EBB_TRY(c.model.feed_forward(layer, chunk.size(), 0));
  }
  return {};
}

}  // namespace

Result<void> run_bulk(StepContext& context, UnitId unit, Sequence& sequence,
                      const control::BulkUnit& bulk, control::UnitResult& out) {
  BulkChunk chunk(context, unit, sequence, bulk);
  return chunk.run(out);
}

Result<void> run_correction(StepContext& context, Sequence& sequence, Position begin) {
  context.backend.ops->set_phase(kernels::Phase::kBulk);
  const uint32_t exact_layers = sequence.exactness.layers_of(begin);
  for (Position at = begin; at < sequence.length;) {
    const Position end = at + std::min(context.model.rows_max(), sequence.length - at);
    EBB_TRY_VOID(correct_chunk(context, sequence, {at, end}, exact_layers));
    at = end;
  }
  sequence.exactness.correct(begin);
  return {};
}

}  // namespace ebb::worker
