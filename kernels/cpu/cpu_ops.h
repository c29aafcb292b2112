// The CPU's operations: what is split over threads, and how. Inner loops are in inner.h's table.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/rotation.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/ops.h"

namespace ebb::kernels::cpu {

class CpuWeight;

class CpuOps final : public Ops {
 public:
  CpuOps(const CpuOptions& options, const InnerKernels& inner);

  void set_phase(Phase phase) override;
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

 private:
  /// Splits [0, count) into ranges of at least `grain` and calls body(begin, end) on the phase's
  /// threads.
  template <class Body>
  void parallel_ranges(uint64_t count, uint64_t grain, const Body& body);
  void write_digest_of(const KvShape& shape, const DigestShape& digest, const DigestArgs& item);
  void matmul_few_rows(const float* x, uint32_t rows, const CpuWeight& w, float* out,
                       uint64_t out_stride);
  void matmul_many_rows(const float* x, uint32_t rows, const CpuWeight& w, float* out,
                        uint64_t out_stride);

  const CpuOptions options_;
  const InnerKernels& inner_;
  ThreadTeam team_;
  uint32_t threads_;
  Rotation rotation_;
};

}  // namespace ebb::kernels::cpu
