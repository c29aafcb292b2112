// See gru.h. What does not depend on the state before it is computed for many tokens at once, a
// warp to an output and eight tokens; only the recurrence itself walks from token to token, a block
// to a sequence, and reads its [3C, C] weights (L2) once for each. Sums run over lanes, then
// through one tree, whatever the batch.
#include "kernels/cuda/gru.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/selection_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kTokens = 8;  // that share a read of a weight
constexpr uint32_t kThreads = 256;
constexpr uint32_t kRecurThreadsMax = 512;
constexpr uint32_t kRecurOutputs = 12;  // of a warp, before there are more warps

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
  const uint64_t* first;  ///< [sequences]: row of its first token
  float* inputs;          ///< [tokens of all, width]; then the states
  float* from_inputs;     ///< [tokens of all, 3 * width]

  __device__ __forceinline__ float* inputs_of(uint32_t sequence) const {
    return inputs + first[sequence] * weights.width;
  }
  __device__ __forceinline__ float* from_inputs_of(uint32_t sequence) const {
    return from_inputs + first[sequence] * 3 * weights.width;
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
  __shared__ float state[kGruWidthMax];
  __shared__ float from_state[3 * kGruWidthMax];
  const GruWeights& w = a.weights;
  const uint32_t width = w.width;
  const GruSequence s = a.sequences[blockIdx.x];
  float* states = a.inputs_of(blockIdx.x);
  for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) state[i] = s.d_state[i];
  for (uint32_t t = 0; t < s.tokens; ++t) {
    const float* from_input = a.from_inputs_of(blockIdx.x) + uint64_t{t} * 3 * width;
    __syncthreads();
    for (uint32_t o = warp_id(); o < 3 * width; o += blockDim.x / kWarp) {
      float sum = 0;
      for (uint32_t i = lane_id(); i < width; i += kWarp) {
        sum += w.d_from_state[uint64_t{o} * width + i] * state[i];
      }
      sum = warp_sum(sum) + w.d_from_state_bias[o];
      if (lane_id() == 0) from_state[o] = sum;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
      const float reset = sigmoid(from_input[i] + from_state[i]);
      const float update = sigmoid(from_input[width + i] + from_state[width + i]);
      const float fresh = tanhf(from_input[2 * width + i] + reset * from_state[2 * width + i]);
      state[i] = (1.0f - update) * fresh + update * state[i];
      states[uint64_t{t} * width + i] = state[i];
    }
  }
  for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) s.d_state[i] = state[i];
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

/// One warp, lanes over the width: the same sum wherever it is asked for.
__device__ __forceinline__ float score_of(const GruHead& head, const GruScoreRow& row, uint32_t i,
                                          uint32_t bucket) {
  const float* of_token = row.d_head_inputs + uint64_t{i} * head.width;
  const float* of_bucket = head.d_of_bucket + uint64_t{bucket} * head.width;
  float sum = 0;
  for (uint32_t j = lane_id(); j < head.width; j += kWarp) {
    sum += head.d_weight[j] * gelu(of_token[j] + of_bucket[j]);
  }
  sum = warp_sum(sum) + head.bias;
  // Weights are finite, their products need not be.
  return sum == sum ? sum : __uint_as_float(0xff800000u);
}

/// A warp to a token.
__global__ void score_kernel(GruHead head, const GruScoreRow* rows) {
  const GruScoreRow row = rows[blockIdx.y];
  const uint32_t warps = gridDim.x * (blockDim.x / kWarp);
  for (uint32_t i = blockIdx.x * (blockDim.x / kWarp) + warp_id(); i < row.length; i += warps) {
    const float score = score_of(head, row, i, bucket_of(head, row.length - i));
    if (lane_id() == 0) row.d_scores[i] = score;
  }
}

/// A warp to a bucket, but for the first, which no distance enters.
__global__ void next_score_kernel(GruHead head, const GruScoreRow* rows, float* changed) {
  const GruScoreRow row = rows[blockIdx.y];
  const uint32_t b = 1 + blockIdx.x * (blockDim.x / kWarp) + warp_id();
  if (b >= head.buckets || head.d_bucket_begin[b] > row.length) return;
  const uint32_t i = row.length - head.d_bucket_begin[b];
  const float score = score_of(head, row, i, b);
  if (lane_id() != 0) return;
  row.d_scores[i] = score;
  changed[uint64_t{blockIdx.y} * (head.buckets - 1) + b - 1] = score;
}

}  // namespace

void gru_append(CudaContext& context, const GruWeights& weights,
                std::span<const GruSequence> sequences) {
  EBB_CHECK(weights.width <= kGruWidthMax && sequences.size() <= 65535);
  std::vector<uint64_t> first;
  uint64_t tokens = 0;
  uint32_t tokens_max = 0;
  for (const GruSequence& sequence : sequences) {
    first.push_back(tokens);
    tokens += sequence.tokens;
    tokens_max = std::max(tokens_max, sequence.tokens);
  }
  if (tokens == 0 || context.failed()) return;
  AppendArgs args{};
  args.weights = weights;
  args.inputs = context.scratch_of<float>(CudaContext::kSelection, 4 * tokens * weights.width);
  if (args.inputs == nullptr) return;
  args.from_inputs = args.inputs + tokens * weights.width;
  args.sequences = context.upload(sequences);
  args.first = context.upload(first);
  const auto count = static_cast<uint32_t>(sequences.size());
  const dim3 tiles((tokens_max + kTokens - 1) / kTokens, count);
  launch(context.shape(tiles, kThreads), &input_kernel, args);
  launch(context.shape(tiles, kThreads), &from_input_kernel, args);
  const uint32_t warps = (3 * weights.width + kRecurOutputs - 1) / kRecurOutputs;
  launch(context.shape(count, std::min(warps * kWarp, kRecurThreadsMax)), &recur_kernel, args);
  launch(context.shape(tiles, kThreads), &head_input_kernel, args);
  context.check_launch("gru_append");
}

void gru_scores(CudaContext& context, const GruHead& head, std::span<const GruScoreRow> rows) {
  EBB_CHECK(head.buckets > 0 && rows.size() <= 65535);
  uint32_t length_max = 0;
  for (const GruScoreRow& row : rows) length_max = std::max(length_max, row.length);
  if (length_max == 0 || context.failed()) return;
  const auto count = static_cast<uint32_t>(rows.size());
  const RowsShape shape = rows_shape(count, length_max, context.multiprocessors());
  launch(context.shape(dim3(shape.blocks, count), shape.threads), &score_kernel, head,
         context.upload(rows));
  context.check_launch("gru_scores");
}

void gru_next_scores(CudaContext& context, const GruHead& head, std::span<const GruScoreRow> rows,
                     float* d_changed) {
  EBB_CHECK(head.buckets > 1 && rows.size() <= 65535);
  if (rows.empty() || context.failed()) return;
  constexpr uint32_t kWarps = kThreads / kWarp;
  const dim3 grid((head.buckets - 1 + kWarps - 1) / kWarps, static_cast<uint32_t>(rows.size()));
  launch(context.shape(grid, kThreads), &next_score_kernel, head, context.upload(rows), d_changed);
  context.check_launch("gru_next_scores");
}

}  // namespace ebb::kernels::cuda
