// kernels/ops.h on a CUDA device: checks what the caller promised, and hands over to the file that
// knows.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/replay.h"

namespace ebb::kernels::cuda {

class CudaOps final : public Ops {
 public:
  /// `device` outlives the operations. `graphs`: what is replayable() is replayed.
  CudaOps(std::shared_ptr<CudaContext> context, Device& device, std::unique_ptr<Gemm> gemm,
          bool graphs = true);

  void set_phase(Phase phase) override;
  void replayable(uint64_t key, const std::function<void()>& body) override;
  void submit() override;
  Result<std::unique_ptr<Weight>> load_weight(const WeightSource& source) override;
  Result<void> prepare_rope(const RopeArgs& args) override;
  void embed(const Weight& table, std::span<const TokenId> ids, float* d_out) override;
  void rms_norm(const float* d_x, uint32_t rows, const Weight& gain, float epsilon,
                float* d_out) override;
  void rms_norm_heads(float* d_x, uint64_t row_stride, uint32_t rows, uint32_t heads,
                      uint32_t head_size, const Weight& gain, float epsilon) override;
  void add_bias(float* d_x, uint64_t row_stride, uint32_t rows, const Weight& bias) override;
  void matmul(const float* d_x, uint32_t rows, const Weight& w, float* d_out,
              uint64_t out_stride) override;
  void add(float* d_x, const float* d_y, uint64_t count) override;
  void clear(float* d_x, uint64_t count) override;
  void silu_mul(const float* d_gate_up, uint32_t rows, uint32_t width, float* d_out) override;
  void rope(float* d_x, uint64_t row_stride, uint32_t heads, uint32_t head_size,
            std::span<const Position> positions) override;
  void append_kv(const KvShape& shape, std::span<const AppendArgs> items) override;
  void attend(const KvShape& shape, std::span<const AttendArgs> items) override;
  void score_max(const float* d_logits, const float* d_lse, uint32_t heads_q, uint32_t count,
                 float* d_scores) override;
  std::vector<std::vector<Scored>> top_k(std::span<const TopKArgs> items) override;
  bool draws() const override { return true; }
  std::vector<TokenId> draw(const float* d_logits, uint32_t vocabulary,
                            std::span<const Draw> rows) override;
  void merge_states(float* d_out_a, float* d_lse_a, const float* d_out_b, const float* d_lse_b,
                    uint32_t rows, uint32_t heads, uint32_t head_size) override;
  void mean_key(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots,
                float* d_center) override;
  void write_digest(const KvShape& shape, const DigestShape& digest,
                    std::span<const DigestArgs> items) override;
  void add_sums(const KvShape& shape, std::span<const SumArgs> items) override;
  void make_lists(std::span<const ListArgs> items) override;
  void update_maps(std::span<const MapArgs> items) override;
  void scan_digests(const KvShape& shape, const DigestShape& digest,
                    std::span<const ScanArgs> items) override;
  void attend_left_out(const KvShape& shape, std::span<const LeftOutArgs> items) override;
  void scale_scores(float* d_scores, std::span<const Position> positions, float factor) override;
  std::unique_ptr<Transfer> pack_records(const RecordBand& band, std::byte* frames) override;
  std::unique_ptr<Transfer> unpack_records(const RecordBand& band, const std::byte* frames,
                                           Frames are) override;
  void copy_rows(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> from,
                 std::span<const uint32_t> to) override;
  Result<std::unique_ptr<TokenGru>> make_token_gru(const TokenGruWeights& weights) override;

 private:
  std::shared_ptr<CudaContext> context_;
  Device& device_;
  std::unique_ptr<Gemm> gemm_;
  Rope rope_;
  RecordMover records_;
  const bool graphs_;
  Replay replay_;
};

}  // namespace ebb::kernels::cuda
