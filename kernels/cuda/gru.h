// A GRU over token embeddings x and its head, which scores token i for the token at position n
// (policy adore's controller; worker/attention/gru_scores.h has it on the CPU):
//   z_i = GRU(W x_i + b, z_{i-1}),   h_i = W0 z_i + b0,
//   score(n, i) = w1 . gelu(h_i + p_bucket(n - i)) + b1
// Batched over sequences, f32. A token's bits depend on its sequence alone: neither on the batch
// nor on the cutting into calls. Each enqueues on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// In device memory; matrices are row-major, an output a row; gates in PyTorch's order: reset,
/// update, new.
struct GruWeights {
  uint32_t hidden = 0;                  ///< H: elements of an embedding
  uint32_t width = 0;                   ///< C: elements of a state, at most 1024
  const float* d_input = nullptr;       ///< W [C, H]
  const float* d_input_bias = nullptr;  ///< b [C]
  const float* d_from_input = nullptr;  ///< [3C, C]
  const float* d_from_input_bias = nullptr;
  const float* d_from_state = nullptr;  ///< [3C, C]
  const float* d_from_state_bias = nullptr;
  const float* d_head = nullptr;  ///< W0 [C, C]
  const float* d_head_bias = nullptr;
};

/// Tokens that follow each other. Read from device memory when the kernels run.
struct GruSequence {
  const float* d_embeddings = nullptr;  ///< [tokens, hidden]
  uint32_t tokens = 0;
  float* d_state = nullptr;        ///< [width]: z before the first; z after the last
  float* d_head_inputs = nullptr;  ///< [tokens, width]: h
};
/// `tokens_max`: of one sequence; sizes the launch and the scratch. At most 65535 sequences.
void gru_append(CudaContext& context, const GruWeights& weights, const GruSequence* d_sequences,
                uint32_t sequences, uint32_t tokens_max);

struct GruHead {
  uint32_t width = 0;
  const float* d_of_bucket = nullptr;        ///< p [buckets, width]
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
void gru_scores(CudaContext& context, const GruHead& head, const GruScoreRow* d_rows, uint32_t rows,
                uint32_t length_max);

}  // namespace ebb::kernels::cuda
