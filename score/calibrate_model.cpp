#include "score/calibrate_model.h"

#include <algorithm>

#include "base/units.h"
#include "worker/allowed_cpus.h"

namespace ebb::score {
namespace {

constexpr uint32_t kGranule = 16;
constexpr uint32_t kRowsMax = 512;

}  // namespace

/// The merge over one rank: its own candidates.
class CalibrateModel::OneRank : public worker::SelectionExchange {
 public:
  Result<control::PublishReply> publish(control::PublishRequest request, Deadline) override {
    control::PublishReply reply;
    for (control::Candidates& from : request.sequences) {
      std::sort(from.positions.begin(), from.positions.end());
      reply.sequences.push_back({from.seq, std::move(from.positions)});
    }
    return reply;
  }
};

CalibrateModel::CalibrateModel() = default;
CalibrateModel::~CalibrateModel() = default;

Result<std::unique_ptr<CalibrateModel>> CalibrateModel::open(const std::string& path,
                                                             uint32_t threads) {
  std::unique_ptr<CalibrateModel> model(new CalibrateModel);
  auto files = models::ModelFiles::open(path);
  if (!files) return with_context("--model", std::move(files).error());
  model->files_ = *std::move(files);
  model->tokenizer_ = EBB_TRY(model->files_->tokenizer());
  model->shape_ = EBB_TRY(models::shape_with_kv_type(model->files_->shape(), "auto"));
  const models::ModelShape& shape = model->shape_;
  const worker::RankShare share = EBB_TRY(worker::share_of_rank(shape, 1, 0));
  kernels::CpuOptions cpu;
  cpu.decode_threads = cpu.bulk_threads = threads == 0 ? worker::allowed_cpus() : threads;
  model->backend_ = EBB_TRY(kernels::make_cpu_backend(cpu));
  model->kv_shape_.heads_q = share.heads_q.size();
  model->kv_shape_.heads_kv = share.heads_kv.size();
  model->kv_shape_.head_size = shape.head_size;
  model->kv_shape_.block_tokens = kGranule;
  model->kv_shape_.element =
      shape.kv_type == models::KvType::kF32 ? kernels::KvElement::kF32 : kernels::KvElement::kBF16;
  model->profile_ = models::dense_profile(shape.layers, shape.name);
  model->layout_ = EBB_TRY(models::make_layout(shape, model->profile_.bands(), 1, kGranule));
  auto weights = EBB_TRY(worker::load_weights(*model->files_, shape, share, *model->backend_.ops));
  model->transformer_ = EBB_TRY(
      worker::Transformer::make(shape, share, model->backend_, std::move(weights),
                                std::max(kRowsMax, shape.layers + 1), shape.context_length));
  model->lists_ = std::make_unique<worker::SlotLists>(model->backend_);
  model->mover_ = std::make_unique<worker::KvMover>(model->layout_, model->kv_shape_,
                                                    model->backend_, worker::KvMover::Options{});
  model->exchange_ = std::make_unique<OneRank>();
  return model;
}

Result<void> CalibrateModel::reserve(uint64_t sequences, uint64_t tokens, bool with_aids) {
  const uint64_t of_layer = (tokens + kGranule - 1) / kGranule;
  // A digest (h3) is less than half of a key, sums less than digests; each fills whole blocks.
  const uint64_t aids = with_aids ? of_layer / 2 + 2 : 0;
  const uint64_t blocks = sequences * shape_.layers * (of_layer + aids);
  if (blocks > 0xfffffffeu)
    return exhausted(std::to_string(sequences) + " sequences of " + std::to_string(tokens) +
                     " tokens at once are " + std::to_string(blocks) + " blocks");
  arena_.reset();
  auto arena = worker::Arena::make(*backend_.device, kv_shape_, static_cast<uint32_t>(blocks));
  if (!arena)
    return with_context(std::to_string(sequences) + " sequences of " + std::to_string(tokens) +
                            " tokens at once (fewer with --batch)",
                        std::move(arena).error());
  arena_ = *std::move(arena);
  return {};
}

worker::StepContext CalibrateModel::context() {
  return {.model = *transformer_,
          .backend = backend_,
          .layout = layout_,
          .profile = profile_,
          .shape = kv_shape_,
          .arena = *arena_,
          .mover = *mover_,
          .lists = *lists_,
          .exchange = *exchange_,
          .epoch = Epoch{1},
          .rank = 0,
          .step_clock = &clock_};
}

Result<std::unique_ptr<worker::Sequence>> CalibrateModel::prefill(std::vector<TokenId> tokens,
                                                                  uint32_t context) {
  EBB_CHECK(arena_ != nullptr && context > 0 && context < tokens.size());
  auto sequence = std::make_unique<worker::Sequence>();
  sequence->open.seq = SeqId{++sequences_};
  sequence->open.prompt = tokens;
  sequence->open.decode_from = context;
  sequence->tokens = std::move(tokens);
  sequence->policy = EBB_TRY(worker::make_policy(profile_, sequence->open.policy, shape_.windows));
  sequence->kv = std::make_unique<worker::SequenceKv>(*arena_, *backend_.ops, layout_, kv_shape_);
  sequence->exactness = worker::Exactness(shape_.layers);
  worker::StepContext c = this->context();
  for (uint32_t at = 0; at < context;) {
    const uint32_t end = std::min(context, at + kRowsMax);
    control::UnitResult out;
    const control::BulkUnit bulk{
        sequence->id(), {at, end}, {0, static_cast<uint16_t>(shape_.layers)}};
    EBB_TRY_VOID(worker::run_bulk(c, UnitId{0}, *sequence, bulk, out));
    if (!out.failures.empty()) return out.failures[0].error;
    at = end;
  }
  return sequence;
}

Result<std::unique_ptr<worker::Sequence>> CalibrateModel::fork(
    const worker::Sequence& from, const control::PolicyParams& policy) {
  auto sequence = std::make_unique<worker::Sequence>();
  sequence->open = from.open;
  sequence->open.seq = SeqId{++sequences_};
  sequence->open.policy = policy;
  sequence->tokens = from.tokens;
  sequence->length = from.length;
  sequence->policy = EBB_TRY(worker::make_policy(profile_, policy, shape_.windows));
  EBB_CHECK(!sequence->policy->keeps_sets());  // the bulk pass has left none
  sequence->kv = std::make_unique<worker::SequenceKv>(*arena_, *backend_.ops, layout_, kv_shape_);
  sequence->exactness = from.exactness;
  for (uint32_t band = 0; band < layout_.bands.size(); ++band)
    EBB_TRY_VOID(sequence->kv->extend(band, {0, from.length}, clock_));
  const uint64_t bytes = kv_shape_.block_bytes();
  for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
    const kernels::KvRows source = from.kv->rows(layer);
    const kernels::KvRows target = sequence->kv->rows(layer);
    for (size_t b = 0; b < target.blocks.size(); ++b)
      backend_.device->copy_on_device(target.d_arena + target.blocks[b] * bytes,
                                      source.d_arena + source.blocks[b] * bytes, bytes);
  }
  sequence->aids = EBB_TRY(
      worker::SelectionAids::make(*arena_, backend_, kv_shape_, *sequence->policy, shape_.layers));
  if (!sequence->aids) return sequence;
  EBB_TRY(sequence->aids->reserve(from.length));
  for (uint32_t layer = 0; layer < shape_.layers; ++layer)
    sequence->aids->fill(layer, sequence->kv->rows(layer), from.length);
  return sequence;
}

Result<std::vector<float>> CalibrateModel::step(std::span<worker::Sequence* const> sequences) {
  worker::StepContext c = context();
  control::UnitResult out;
  EBB_TRY_VOID(worker::run_decode(c, UnitId{0}, sequences, out));
  if (!out.failures.empty()) return out.failures[0].error;
  // The step leaves the residual stream of its rows behind; it gives out single probabilities only.
  return transformer_->logits(0, static_cast<uint32_t>(sequences.size()));
}

}  // namespace ebb::score
