// See gru.h. What does not depend on the state before it is computed for many tokens at once, a
// warp to an output and eight tokens; only the recurrence itself walks from token to token, a block
// to a sequence, and reads its [3C, C] weights (L2) once for each. Sums run over lanes, then
// through one tree, whatever the batch.
#include "kernels/cuda/gru.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/selection_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kWidthMax = 1024;
constexpr uint32_t kTokens = 8;  // that share a read of a weight
constexpr uint32_t kThreads = 256;
constexpr uint32_t kRecurThreads = 512;

/// out [tokens, outputs] = bias + x [tokens, inputs] times w [outputs, inputs] transposed.
struct Linear {
  const float* w;
  const float* bias;
  uint32_t outputs, inputs;
};
__device__ void apply(const Linear& l, const float* x, uint32_t tokens, float* out) {
  const uint32_t first = blockIdx.x * kTokens;
  if (first >= tokens) return;
  const uint32_t count = min(kTokens, tokens - first);
  for (uint32_t o = warp_id(); o < l.outputs; o += blockDim.x / kWarp) {
    const float* row = l.w + uint64_t{o} * l.inputs;
    float sums[kTokens] = {};
    for (uint32_t i = lane_id(); i < l.inputs; i += kWarp) {
      const float weight = row[i];
#pragma unroll
      for (uint32_t t = 0; t < kTokens; ++t) {
        if (t < count) sums[t] += weight * x[uint64_t{first + t} * l.inputs + i];
      }
    }
#pragma unroll
    for (uint32_t t = 0; t < kTokens; ++t) {
      if (t >= count) break;
      const float sum = warp_sum(sums[t]) + l.bias[o];
      if (lane_id() == 0) out[uint64_t{first + t} * l.outputs + o] = sum;
    }
  }
}

struct AppendArgs {
  GruWeights weights;
  const GruSequence* sequences;
  uint32_t tokens_max;
  float* inputs;       ///< [sequences, tokens_max, width]; then the states
  float* from_inputs;  ///< [sequences, tokens_max, 3 * width]

  __device__ __forceinline__ float* inputs_of(uint32_t sequence) const {
    return inputs + uint64_t{sequence} * tokens_max * weights.width;
  }
  __device__ __forceinline__ float* from_inputs_of(uint32_t sequence) const {
    return from_inputs + uint64_t{sequence} * tokens_max * 3 * weights.width;
  }
};

__global__ void input_kernel(AppendArgs a) {
  const GruWeights& w = a.weights;
  const GruSequence s = a.sequences[blockIdx.y];
  apply({w.d_input, w.d_input_bias, w.width, w.hidden}, s.d_embeddings, s.tokens,
        a.inputs_of(blockIdx.y));
}

__global__ void from_input_kernel(AppendArgs a) {
  const GruWeights& w = a.weights;
  const GruSequence s = a.sequences[blockIdx.y];
  apply({w.d_from_input, w.d_from_input_bias, 3 * w.width, w.width}, a.inputs_of(blockIdx.y),
        s.tokens, a.from_inputs_of(blockIdx.y));
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// Leaves the state after each token where its input was.
__global__ void recur_kernel(AppendArgs a) {
  __shared__ float state[kWidthMax];
  __shared__ float from_state[3 * kWidthMax];
  const GruWeights& w = a.weights;
  const uint32_t width = w.width;
  const GruSequence s = a.sequences[blockIdx.x];
  float* states = a.inputs_of(blockIdx.x);
  for (uint32_t i = threadIdx.x; i < width; i += kRecurThreads) state[i] = s.d_state[i];
  for (uint32_t t = 0; t < s.tokens; ++t) {
    const float* from_input = a.from_inputs_of(blockIdx.x) + uint64_t{t} * 3 * width;
    __syncthreads();
    for (uint32_t o = warp_id(); o < 3 * width; o += kRecurThreads / kWarp) {
      float sum = 0;
      for (uint32_t i = lane_id(); i < width; i += kWarp) {
        sum += w.d_from_state[uint64_t{o} * width + i] * state[i];
      }
      sum = warp_sum(sum) + w.d_from_state_bias[o];
      if (lane_id() == 0) from_state[o] = sum;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < width; i += kRecurThreads) {
      const float reset = sigmoid(from_input[i] + from_state[i]);
      const float update = sigmoid(from_input[width + i] + from_state[width + i]);
      const float fresh = tanhf(from_input[2 * width + i] + reset * from_state[2 * width + i]);
      state[i] = (1.0f - update) * fresh + update * state[i];
      states[uint64_t{t} * width + i] = state[i];
    }
  }
  for (uint32_t i = threadIdx.x; i < width; i += kRecurThreads) s.d_state[i] = state[i];
}

__global__ void head_input_kernel(AppendArgs a) {
  const GruWeights& w = a.weights;
  const GruSequence s = a.sequences[blockIdx.y];
  apply({w.d_head, w.d_head_bias, w.width, w.width}, a.inputs_of(blockIdx.y), s.tokens,
        s.d_head_inputs);
}

__device__ __forceinline__ float gelu(float x) { return x / 2.0f * (1.0f + erff(x * 0.70710678f)); }

/// The last bucket that begins at this distance or before it.
__device__ __forceinline__ uint32_t bucket_of(const GruHead& head, uint32_t distance) {
  uint32_t begin = 0, end = head.buckets;
  while (end - begin > 1) {
    const uint32_t middle = begin + (end - begin) / 2;
    (head.d_bucket_begin[middle] <= distance ? begin : end) = middle;
  }
  return begin;
}

/// A warp to a token, lanes over the width.
__global__ void score_kernel(GruHead head, const GruScoreRow* rows) {
  const GruScoreRow row = rows[blockIdx.y];
  const uint32_t warps = gridDim.x * (blockDim.x / kWarp);
  for (uint32_t i = blockIdx.x * (blockDim.x / kWarp) + warp_id(); i < row.length; i += warps) {
    const float* of_token = row.d_head_inputs + uint64_t{i} * head.width;
    const float* of_bucket =
        head.d_of_bucket + uint64_t{bucket_of(head, row.length - i)} * head.width;
    float sum = 0;
    for (uint32_t j = lane_id(); j < head.width; j += kWarp) {
      sum += head.d_weight[j] * gelu(of_token[j] + of_bucket[j]);
    }
    sum = warp_sum(sum) + head.bias;
    // Weights are finite, their products need not be.
    if (lane_id() == 0) row.d_scores[i] = sum == sum ? sum : __uint_as_float(0xff800000u);
  }
}

}  // namespace

void gru_append(CudaContext& context, const GruWeights& weights, const GruSequence* d_sequences,
                uint32_t sequences, uint32_t tokens_max) {
  EBB_CHECK(weights.width <= kWidthMax && sequences <= 65535);
  if (sequences == 0 || tokens_max == 0 || context.failed()) return;
  AppendArgs args{};
  args.weights = weights;
  args.sequences = d_sequences;
  args.tokens_max = tokens_max;
  const uint64_t inputs = uint64_t{sequences} * tokens_max * weights.width;
  args.inputs = context.scratch_of<float>(CudaContext::kSelection, 4 * inputs);
  if (args.inputs == nullptr) return;
  args.from_inputs = args.inputs + inputs;
  const dim3 tiles((tokens_max + kTokens - 1) / kTokens, sequences);
  launch(context.shape(tiles, kThreads), &input_kernel, args);
  launch(context.shape(tiles, kThreads), &from_input_kernel, args);
  launch(context.shape(sequences, kRecurThreads), &recur_kernel, args);
  launch(context.shape(tiles, kThreads), &head_input_kernel, args);
  context.check_launch("gru_append");
}

void gru_scores(CudaContext& context, const GruHead& head, const GruScoreRow* d_rows, uint32_t rows,
                uint32_t length_max) {
  EBB_CHECK(head.buckets > 0 && rows <= 65535);
  if (rows == 0 || length_max == 0 || context.failed()) return;
  const RowsShape shape = rows_shape(rows, length_max, context.multiprocessors());
  launch(context.shape(dim3(shape.blocks, rows), shape.threads), &score_kernel, head, d_rows);
  context.check_launch("gru_scores");
}

}  // namespace ebb::kernels::cuda
