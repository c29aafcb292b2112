// ADORE's controller: a GRU over token embeddings x, and a head that scores token i for the token
// at position n:
//   z_i = GRU(W x_i + b, z_{i-1}),   score(n, i) = w1 . gelu(W0 (z_i + p_bucket(n - i)) + b0) + b1
// Plain f32 on the host: what computes where the backend has none of its own
// (device_gru_scores.h).
#pragma once

#include <span>
#include <vector>

#include "models/adore_controller.h"
#include "worker/attention/token_scores.h"

namespace ebb::worker {

/// Distances below 64 have their own bucket; then eight for each octave, up to the last.
uint32_t distance_bucket(uint32_t distance);

class GruScorer : public TokenScorer {
 public:
  explicit GruScorer(const models::AdoreController& controller);
  uint32_t width() const override { return hidden_; }
  std::unique_ptr<TokenScores> begin() const override;

  uint32_t state_size() const { return size_; }
  /// `state` [state_size]: z_{i-1} becomes z_i; zeros before the first token.
  void next_state(const float* embedding, std::vector<float>& state) const;
  /// out [state_size] = W0 z + b0: all that the head needs of a token.
  void head_input(const std::vector<float>& state, float* out) const;
  float score(const float* of_token, uint32_t bucket) const;
  std::span<const float> of_bucket() const { return of_bucket_; }  ///< [buckets, state]: W0 p
  /// Smallest distance of each bucket.
  std::span<const uint32_t> bucket_begin() const { return bucket_begin_; }

 private:
  /// Matrices are kept by columns: a product then adds up vectors, which needs no reordering of
  /// sums to be fast, and has the same bits whatever the compiler does.
  struct Matrix {
    Matrix(std::span<const float> rows, uint32_t outputs, uint32_t inputs);
    /// out += this * x
    void add_product(const float* x, float* out) const;
    uint32_t outputs, inputs;
    std::vector<float> columns;
  };
  friend class GruScores;

  uint32_t hidden_;
  uint32_t size_;  ///< of a state
  Matrix input_;
  std::vector<float> input_bias_;
  Matrix from_input_, from_state_;
  std::vector<float> bias_input_, bias_state_;
  Matrix head_;
  std::vector<float> head_bias_;
  std::vector<float> of_bucket_;
  std::vector<float> score_weight_;
  float score_bias_;
  std::vector<uint32_t> bucket_begin_;
};

}  // namespace ebb::worker
