// See cuda_ops.h.
#include "kernels/cuda/cuda_ops.h"

#include "base/check.h"
#include "kernels/cuda/attend.h"
#include "kernels/cuda/digests.h"
#include "kernels/cuda/lists.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/selection.h"
#include "kernels/cuda/token_gru.h"
#include "kernels/cuda/weights.h"

namespace ebb::kernels::cuda {

CudaOps::CudaOps(std::shared_ptr<CudaContext> context, Device& device, std::unique_ptr<Gemm> gemm,
                 bool graphs)
    : context_(std::move(context)),
      device_(device),
      gemm_(std::move(gemm)),
      records_(context_),
      graphs_(graphs),
      replay_(*context_) {}

/// One stream does both; how many rows there are chooses the kernels.
void CudaOps::set_phase(Phase) {}

void CudaOps::replayable(uint64_t key, const std::function<void()>& body) {
  if (!graphs_) return body();
  replay_.run(key, body);
}

void CudaOps::submit() { replay_.enqueue_taken(); }

Result<std::unique_ptr<Weight>> CudaOps::load_weight(const WeightSource& source) {
  return CudaWeight::make(*context_, device_, source);
}

Result<void> CudaOps::prepare_rope(const RopeArgs& args) {
  rope_ = EBB_TRY(Rope::make(*context_, device_, args));
  return {};
}

void CudaOps::embed(const Weight& table, std::span<const TokenId> ids, float* d_out) {
  for (const TokenId id : ids) EBB_CHECK(id >= 0 && static_cast<uint64_t>(id) < table.rows());
  cuda::embed(*context_, own(table), ids, d_out);
}

void CudaOps::rms_norm(const float* d_x, uint32_t rows, const Weight& gain, float epsilon,
                       float* d_out) {
  NormArgs args;
  args.d_x = d_x;
  args.d_out = d_out;
  args.row_stride = gain.columns();
  args.rows = rows;
  args.width = static_cast<uint32_t>(gain.columns());
  args.d_gain = own(gain).d_vector();
  args.epsilon = epsilon;
  cuda::rms_norm(*context_, args);
}

void CudaOps::rms_norm_heads(float* d_x, uint64_t row_stride, uint32_t rows, uint32_t heads,
                             uint32_t head_size, const Weight& gain, float epsilon) {
  EBB_CHECK(gain.columns() == head_size && row_stride >= uint64_t{heads} * head_size);
  NormArgs args;
  args.d_x = d_x;
  args.d_out = d_x;
  args.row_stride = row_stride;
  args.rows = rows;
  args.heads = heads;
  args.width = head_size;
  args.d_gain = own(gain).d_vector();
  args.epsilon = epsilon;
  cuda::rms_norm(*context_, args);
}

void CudaOps::add_bias(float* d_x, uint64_t row_stride, uint32_t rows, const Weight& bias) {
  EBB_CHECK(row_stride >= bias.columns());
  cuda::add_bias(*context_, d_x, row_stride, rows, own(bias).d_vector(),
                 static_cast<uint32_t>(bias.columns()));
}

void CudaOps::matmul(const float* d_x, uint32_t rows, const Weight& w, float* d_out,
                     uint64_t out_stride) {
  EBB_CHECK(out_stride >= w.rows());
  cuda::matmul(*context_, *gemm_, d_x, rows, own(w), d_out, out_stride);
}

void CudaOps::add(float* d_x, const float* d_y, uint64_t count) {
  cuda::add(*context_, d_x, d_y, count);
}

void CudaOps::clear(float* d_x, uint64_t count) { context_->clear(d_x, count * sizeof(float)); }

void CudaOps::silu_mul(const float* d_gate_up, uint32_t rows, uint32_t width, float* d_out) {
  cuda::silu_mul(*context_, d_gate_up, rows, width, d_out);
}

void CudaOps::rope(float* d_x, uint64_t row_stride, uint32_t heads, uint32_t head_size,
                   std::span<const Position> positions) {
  rope_.turn(*context_, d_x, row_stride, heads, head_size, positions);
}

void CudaOps::append_kv(const KvShape& shape, std::span<const AppendArgs> items) {
  cuda::append_kv(*context_, shape, items);
}

void CudaOps::attend(const KvShape& shape, std::span<const AttendArgs> items) {
  for (const AttendArgs& item : items) {
    EBB_CHECK(!item.listed() || (item.rows == 1 && item.window == 0));
  }
  cuda::attend(*context_, shape, items);
}

void CudaOps::score_max(const float* d_logits, const float* d_lse, uint32_t heads_q, uint32_t count,
                        float* d_scores) {
  cuda::score_max(*context_, d_logits, d_lse, heads_q, count, d_scores);
}

std::vector<std::vector<Scored>> CudaOps::top_k(std::span<const TopKArgs> items) {
  return cuda::top_k(*context_, items);
}

std::vector<TokenId> CudaOps::draw(const float* d_logits, uint32_t vocabulary,
                                   std::span<const Draw> rows) {
  return cuda::draw(*context_, d_logits, vocabulary, rows);
}

void CudaOps::merge_states(float* d_out_a, float* d_lse_a, const float* d_out_b,
                           const float* d_lse_b, uint32_t rows, uint32_t heads,
                           uint32_t head_size) {
  cuda::merge_states(*context_, d_out_a, d_lse_a, d_out_b, d_lse_b, rows, heads, head_size);
}

void CudaOps::mean_key(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots,
                       float* d_center) {
  cuda::mean_key(*context_, shape, kv, slots, d_center);
}

void CudaOps::write_digest(const KvShape& shape, const DigestShape& digest,
                           std::span<const DigestArgs> items) {
  cuda::write_digest(*context_, shape, digest, items);
}

void CudaOps::add_sums(const KvShape& shape, std::span<const SumArgs> items) {
  cuda::add_sums(*context_, shape, items);
}

void CudaOps::make_lists(std::span<const ListArgs> items) { cuda::make_lists(*context_, items); }

void CudaOps::update_maps(std::span<const MapArgs> items) { cuda::update_maps(*context_, items); }

void CudaOps::scan_digests(const KvShape& shape, const DigestShape& digest,
                           std::span<const ScanArgs> items) {
  cuda::scan_digests(*context_, shape, digest, items);
}

void CudaOps::attend_left_out(const KvShape& shape, std::span<const LeftOutArgs> items) {
  for (const LeftOutArgs& item : items)
    EBB_CHECK(item.d_slots != nullptr || item.slots.size() == item.positions.size());
  cuda::attend_left_out(*context_, shape, items);
}

void CudaOps::scale_scores(float* d_scores, std::span<const Position> positions, float factor) {
  cuda::scale_scores(*context_, d_scores, positions, factor);
}

std::unique_ptr<Transfer> CudaOps::pack_records(const RecordBand& band, std::byte* frames) {
  return records_.pack(band, frames);
}

std::unique_ptr<Transfer> CudaOps::unpack_records(const RecordBand& band, const std::byte* frames,
                                                  Frames) {
  return records_.unpack(band, frames);
}

void CudaOps::copy_rows(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> from,
                        std::span<const uint32_t> to) {
  EBB_CHECK(from.size() == to.size());
  cuda::copy_rows(*context_, shape, kv, from, to);
}

Result<std::unique_ptr<TokenGru>> CudaOps::make_token_gru(const TokenGruWeights& weights) {
  return CudaTokenGru::make(context_, device_, weights);
}

}  // namespace ebb::kernels::cuda
