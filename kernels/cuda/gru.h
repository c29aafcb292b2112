// A GRU over token embeddings x and its head, which scores token i for the token at position n
// (policy adore's controller; worker/attention/gru_scores.h has it on the CPU):
//   z_i = GRU(W x_i + b, z_{i-1}),   h_i = W0 z_i + b0,
//   score(n, i) = w1 . gelu(h_i + W0 p_bucket(n - i)) + b1
// Batched over sequences, f32. A token's bits depend on its sequence alone: neither on the batch
// nor on the cutting into calls. Each enqueues on the context's stream. token_gru.h keeps the
// sequences.
#pragma once

#include <span>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Elements of a state at most: the recurrence keeps four times as many floats in shared memory.
constexpr uint32_t kGruWidthMax = 1024;

/// In device memory; matrices are row-major, an output a row; gates in PyTorch's order: reset,
/// update, new.
struct GruWeights {
  uint32_t hidden = 0;                  ///< H: elements of an embedding
  uint32_t width = 0;                   ///< C: elements of a state, at most kGruWidthMax
  const float* d_input = nullptr;       ///< W [C, H]
  const float* d_input_bias = nullptr;  ///< b [C]
  const float* d_from_input = nullptr;  ///< [3C, C]
  const float* d_from_input_bias = nullptr;
  const float* d_from_state = nullptr;  ///< [3C, C]
  const float* d_from_state_bias = nullptr;
  const float* d_head = nullptr;  ///< W0 [C, C]
  const float* d_head_bias = nullptr;
};

/// Tokens that follow each other.
struct GruSequence {
  const float* d_embeddings = nullptr;  ///< [tokens, hidden]
  uint32_t tokens = 0;
  float* d_state = nullptr;        ///< [width]: z before the first; z after the last
  float* d_head_inputs = nullptr;  ///< [tokens, width]: h
};
/// Waits only to grow scratch: 16 C bytes for each token of the call. At most 65535 sequences.
void gru_append(CudaContext& context, const GruWeights& weights,
                std::span<const GruSequence> sequences);

struct GruHead {
  uint32_t width = 0;
  const float* d_of_bucket = nullptr;        ///< W0 p [buckets, width]
  const uint32_t* d_bucket_begin = nullptr;  ///< [buckets]: least distance of each; first: 0
  uint32_t buckets = 0;
  const float* d_weight = nullptr;  ///< w1 [width]
  float bias = 0;                   ///< b1
};
struct GruScoreRow {
  const float* d_head_inputs = nullptr;  ///< [length, width]
  uint32_t length = 0;                   ///< n
  float* d_scores = nullptr;             ///< [length]; what is no number becomes -inf
};
/// At most 65535 rows.
void gru_scores(CudaContext& context, const GruHead& head, std::span<const GruScoreRow> rows);

/// The same, where d_scores has the scores for the token at n - 1 of all tokens before it: from one
/// position to the next a score changes only where the distance enters another bucket. `d_changed`
/// [rows, buckets - 1]: at b - 1 the score of the token whose distance is the begin of bucket b,
/// while there is such a token.
void gru_next_scores(CudaContext& context, const GruHead& head, std::span<const GruScoreRow> rows,
                     float* d_changed);

}  // namespace ebb::kernels::cuda
