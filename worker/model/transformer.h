// The forward pass in pieces, in reading order: what happens to `rows` rows of activations
// between the attention calls. It knows weights, ranks and the collective; it knows nothing of
// sequences, residency or policies: the steps above it say where rows stand and what they attend
// to.
//
// Tensor parallel: every rank computes its heads and FFN columns; two all-reduces a layer add the
// parts up. Each carries one element more, the error count: when some rank could not do its part (a
// restore that failed), the sum is not zero, and all ranks end the step there, alike.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "models/model_shape.h"
#include "transport/collective/collective.h"
#include "worker/model/weights.h"

namespace ebb::worker {

/// All on the engine thread. Buffers hold at most `rows_max` rows; activations are f32.
class Transformer {
 public:
  static Result<std::unique_ptr<Transformer>> make(const models::ModelShape& shape,
                                                   const RankShare& share,
                                                   kernels::Backend& backend, ModelWeights weights,
                                                   uint32_t rows_max, uint32_t positions_max);

  /// The collective in force; may change with the epoch.
  void set_collective(collective::Collective* collective) { collective_ = collective; }

  uint32_t rows_max() const { return rows_max_; }
  const models::ModelShape& shape() const { return shape_; }
  const RankShare& share() const { return share_; }

  /// x [rows, width] = embeddings.
  void embed(std::span<const TokenId> ids);
  float* d_x() { return x_.floats(); }

  /// norm, Q, K, V, RoPE: fills d_q [rows, heads_q, head_size] and the K, V columns beside it.
  /// `second`, when not empty: where the last second.size() rows' queries stand once more, in
  /// d_q_second [second.size(), heads_q, head_size].
  void project(uint32_t layer, std::span<const Position> positions,
               std::span<const Position> second = {});
  /// Only the queries that `layer` would have if x, as it is now, were its input: into
  /// d_q_second [rows, heads_q, head_size].
  void project_queries(uint32_t layer, std::span<const Position> positions);
  float* d_q() { return q_.floats(); }
  float* d_q_second() { return q_second_.floats(); }
  float* d_k() { return kv_.floats(); }
  float* d_v() { return kv_.floats() + kv_columns(); }
  uint64_t kv_stride() const { return 2 * kv_columns(); }
  /// Where attention writes [rows, heads_q, head_size] and [rows, heads_q].
  float* d_attention() { return attention_.floats(); }
  float* d_lse() { return lse_.floats(); }

  /// x += attention out-projection, then x += FFN, each summed over ranks. `errors`: this rank's, 0
  /// or 1; with 1 the rank's part is zero. Returns the count over all ranks: not zero means that x
  /// is unusable on every rank.
  Result<uint32_t> attention_output(uint32_t layer, uint32_t rows, uint32_t errors);
  Result<uint32_t> feed_forward(uint32_t layer, uint32_t rows, uint32_t errors);

  /// Logits of rows [first, first + count) on rank 0: [count, vocabulary], host memory; empty on
  /// other ranks.
  Result<std::vector<float>> logits(uint32_t first, uint32_t count);
  /// Whether tokens can be drawn where the logits are: the same on every rank.
  bool draws() const;
  /// The logits of rows [first, first + count), at most logit_rows(), on the device of every rank:
  /// [count, vocabulary], valid until the next call of this or of logits(). Where draws().
  Result<const float*> logits_on_device(uint32_t first, uint32_t count);
  uint32_t logit_rows() const;

  /// x [rows, width] = the sum over ranks of what each rank's `fill` wrote (its own rows; zeros
  /// elsewhere).
  Result<void> gather_rows(uint32_t rows, const std::function<void(float* d_rows)>& fill);
  /// Sum of `errors` over ranks: asked before a unit whose preparation may fail on one rank alone.
  Result<uint32_t> agree(uint32_t errors);
  /// The sum over ranks of `values` (host memory), the same bits on every rank.
  Result<void> sum_over_ranks(std::span<float> values);
  /// Rank 0's tokens, to every rank.
  Result<void> broadcast_tokens(std::span<TokenId> tokens);

 private:
  /// Over ranks, in place. Errors: also those of a device that is lost.
  Result<void> sum_on_device(float* d_values, uint64_t count);
  /// Sums [rows, width] over ranks in place, with the error count behind it.
  Result<uint32_t> all_reduce_rows(float* d_rows, uint32_t rows, uint32_t errors);
  Transformer(const models::ModelShape& shape, const RankShare& share, kernels::Backend& backend,
              ModelWeights weights, uint32_t rows_max);
  Result<void> allocate();
  void project_rows(uint32_t layer, uint32_t rows);
  /// What `cut` takes of [rows, columns]: `d_x` itself, or a copy with zeros around the columns.
  const float* inputs_of(const InputCut& cut, const float* d_x, uint32_t rows, uint32_t columns);
  uint64_t kv_columns() const { return uint64_t{share_.heads_kv.size()} * shape_.head_size; }
  /// [count, stride], this rank's columns.
  void logits_of_rank(uint32_t first, uint32_t count, float* d_out, uint64_t stride);
  Result<uint32_t> add_over_ranks(uint32_t rows, uint32_t errors);

  models::ModelShape shape_;
  RankShare share_;
  kernels::Backend& backend_;
  const bool host_reachable_;  ///< device memory, for sums on the host
  ModelWeights weights_;
  uint32_t rows_max_;
  collective::Collective* collective_ = nullptr;
  kernels::Buffer x_;          ///< [rows, width]
  kernels::Buffer normed_;     ///< [rows, width]
  kernels::Buffer q_;          ///< [rows, heads_q * head_size]
  kernels::Buffer q_second_;   ///< as q_
  kernels::Buffer kv_;         ///< [rows, K then V]
  kernels::Buffer attention_;  ///< [rows, heads_q * head_size]
  kernels::Buffer lse_;        ///< [rows, heads_q]
  kernels::Buffer gate_up_;    ///< [rows, 2 * ffn]
  kernels::Buffer act_;        ///< [rows, ffn]
  kernels::Buffer padded_;     ///< [rows, the widest input that needs zeros around it]
  kernels::Buffer zeros_;      ///< as long as its rows
  std::vector<float> staged_;  ///< a copy of what is summed, where the host cannot reach it
  kernels::Buffer part_;       ///< [rows, width] and one element: what is summed over ranks
  kernels::Buffer logits_;     ///< [kLogitRows, vocabulary share, or where it draws all of it]
};

}  // namespace ebb::worker
