// Dense attention over many tokens, chunk by chunk, through all layers or band by band. Records
// that a chunk makes are exact; they are restored from nowhere.
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
        rows_(bulk.tokens.size()) {}

  Result<void> run(control::UnitResult& out);

 private:
  Result<void> check() const;
  Result<void> load_input();
  Result<void> make_room();
  Result<uint32_t> run_layer(uint32_t layer);
  Result<void> select(uint32_t layer);
  Result<void> score(control::SequenceResult& result);
  bool last_chunk() const { return bulk_.tokens.end == sequence_.bulk_end(); }
  bool all_layers() const {
    return bulk_.layers.begin == 0 && bulk_.layers.end == c_.model.shape().layers;
  }

  StepContext& c_;
  UnitId unit_;
  Sequence& sequence_;
  const control::BulkUnit& bulk_;
  uint64_t step_;
  uint32_t rows_;
  std::vector<Position> positions_;
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
  if (last_chunk() && !all_layers()) {
    const uint64_t floats = uint64_t{c_.shape.heads_q + 1} * bulk_.tokens.end;
    logits_ =
        EBB_TRY(c_.backend.device->allocate(floats * sizeof(float), kernels::MemoryKind::kDevice));
  }
  return {};
}

Result<uint32_t> BulkChunk::run_layer(uint32_t layer) {
  c_.model.project(layer, positions_);
  const auto kv = sequence_.kv->rows(layer);
  const uint64_t stride = c_.model.kv_stride();
  c_.backend.ops->append_kv(c_.shape, kv, c_.model.d_k(), stride, c_.model.d_v(), stride,
                            positions_);
  // A band-by-band pass seeds the hot pools with the last row's selection; otherwise nothing is
  // released.
  const bool selects = last_chunk() && !all_layers() &&
                       sequence_.policy->layer_plan(layer, bulk_.tokens.end).selects;
  kernels::AttendArgs args;
  args.d_q = c_.model.d_q();
  args.rows = rows_;
  args.kv = kv;
  args.count = bulk_.tokens.end;
  args.window = c_.model.shape().window(layer);
  args.d_out = c_.model.d_attention();
  args.d_lse = c_.model.d_lse();
  if (selects) args.d_logits = logits_.floats();
  c_.backend.ops->attend(c_.shape, std::span(&args, 1));
  if (selects) problem_ = select(layer);
  const uint32_t failed = EBB_TRY(c_.model.attention_output(layer, rows_, problem_ ? 0 : 1));
  if (failed > 0) return failed;
  return c_.model.feed_forward(layer, rows_, 0);
}

Result<void> BulkChunk::select(uint32_t layer) {
  const uint32_t length = bulk_.tokens.end;
  Sequence* const sequences[] = {&sequence_};
  std::vector<control::Candidates> candidates;
  candidates.push_back(make_candidates(c_, sequence_, layer, length, logits_.floats(),
                                       c_.model.d_lse() + uint64_t{rows_ - 1} * c_.shape.heads_q,
                                       logits_.floats() + uint64_t{c_.shape.heads_q} * length));
  return exchange_sets(c_, unit_, layer, sequences, std::span(&length, 1), std::move(candidates));
}

/// Rank 0: log-probabilities of the prompt's tokens that this chunk predicts, and what follows the
/// last of them.
Result<void> BulkChunk::score(control::SequenceResult& result) {
  const bool every = sequence_.open.sampling.prompt_logprobs;
  const uint32_t first = every ? 0 : rows_ - 1;
  if (!every && !last_chunk()) return {};
  const uint64_t vocabulary = c_.model.shape().vocabulary;
  constexpr uint32_t kRows = 32;
  TokenId next = 0;
  for (uint32_t done = first; done < rows_; done += kRows) {
    const uint32_t count = std::min(kRows, rows_ - done);
    const std::vector<float> logits = EBB_TRY(c_.model.logits(done, count));
    for (uint32_t i = 0; c_.rank == 0 && i < count; ++i) {
      next = next_token(sequence_, std::span(logits).subspan(i * vocabulary, vocabulary),
                        bulk_.tokens.begin + done + i + 1, result);
    }
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

Result<void> BulkChunk::run(control::UnitResult& out) {
  control::SequenceResult result;
  result.seq = sequence_.id();
  c_.backend.ops->set_phase(kernels::Phase::kBulk);
  problem_ = check();
  if (problem_) problem_ = make_room();
  uint32_t failed = EBB_TRY(c_.model.agree(problem_ ? 0 : 1));
  for (Position p = bulk_.tokens.begin; p < bulk_.tokens.end; ++p) positions_.push_back(p);
  if (failed == 0) EBB_TRY_VOID(load_input());
  for (uint32_t layer = bulk_.layers.begin; failed == 0 && layer < bulk_.layers.end; ++layer) {
    failed = EBB_TRY(run_layer(layer));
  }
  if (failed > 0) {
    if (!problem_) out.failures.push_back({sequence_.id(), problem_.error()});
    return {};
  }
  if (bulk_.layers.end < c_.model.shape().layers) {
    sequence_.kept->save(bulk_.tokens, c_.model.d_x());
  } else {
    EBB_TRY_VOID(score(result));
  }
  result.counters = sequence_.counters_now();
  out.sequences.push_back(std::move(result));
  return {};
}

}  // namespace

Result<void> run_bulk(StepContext& context, UnitId unit, Sequence& sequence,
                      const control::BulkUnit& bulk, control::UnitResult& out) {
  BulkChunk chunk(context, unit, sequence, bulk);
  return chunk.run(out);
}

}  // namespace ebb::worker
