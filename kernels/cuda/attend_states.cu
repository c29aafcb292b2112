// See attend_states.h and attend.h. The merge of partial attention states (FlashInfer's state
// algebra; arXiv:2501.01005, section 2.2).
#include "kernels/cuda/attend_states.h"

#include "kernels/cuda/attend.h"
#include "kernels/cuda/attend_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr unsigned kMergeWarps = 8;
constexpr unsigned kHeadSizeMax = 256;
constexpr unsigned kLaneElements = kHeadSizeMax / kWarp;

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

struct MergeArgs {
  States states;
  const MergeRow* rows;
  uint32_t heads;
  uint32_t head_size;
};

/// Adds the states chunk = warp, warp + kMergeWarps, ... relative to the largest logit `most`; lane
/// l holds elements l, l + 32, ... of the output.
__device__ void add_states(const MergeArgs& a, const MergeRow& row, uint64_t first, float most,
                           float* out, float* sum) {
  for (uint32_t c = warp_id(); c < row.chunks; c += kMergeWarps) {
    const float2 top = a.states.tops[first + c];
    const float weight = expf(top.x - most);
    const float* from = a.states.outs + (first + c) * a.head_size;
    *sum += weight * top.y;
#pragma unroll
    for (unsigned i = 0; i < kLaneElements; ++i) {
      const uint32_t d = i * kWarp + lane_id();
      if (d < a.head_size) out[i] += weight * from[d];
    }
  }
}

/// The weights of the old state (x) and of the new (y) in their merge; and the merged lse.
__device__ __forceinline__ float2 merge_weights(float lse_a, float lse_b, float* lse) {
  const float most = fmaxf(lse_a, lse_b);
  const float a = expf(lse_a - most), b = expf(lse_b - most);
  *lse = most + logf(a + b);
  return make_float2(a / (a + b), b / (a + b));
}

/// A block merges one head of one row: its warps take turns at chunks, then thread d adds up what
/// they have of element d, in the order of the warps. Reads every state once.
__global__ void merge_chunks_kernel(MergeArgs a) {
  __shared__ float outs[kMergeWarps][kHeadSizeMax];
  __shared__ float sums[kMergeWarps];
  __shared__ float room[kWarp];
  const MergeRow row = a.rows[blockIdx.x / a.heads];
  const uint32_t head = blockIdx.x % a.heads;
  const uint64_t first = row.state_at + uint64_t{head} * row.chunks;
  float most = kVeryLow;
  for (uint32_t c = threadIdx.x; c < row.chunks; c += blockDim.x) {
    most = fmaxf(most, a.states.tops[first + c].x);
  }
  most = block_max(most, room);
  float out[kLaneElements] = {};
  float sum = 0;
  add_states(a, row, first, most, out, &sum);
#pragma unroll
  for (unsigned i = 0; i < kLaneElements; ++i) outs[warp_id()][i * kWarp + lane_id()] = out[i];
  if (lane_id() == 0) sums[warp_id()] = sum;
  __syncthreads();
  const uint32_t d = threadIdx.x;
  float value = 0, all = 0;
  for (unsigned w = 0; w < kMergeWarps; ++w) {
    all += sums[w];
    value += outs[w][d];
  }
  const bool empty = all == 0;
  float lse = empty ? minus_infinity() : most + logf(all);
  value = empty ? 0.0f : value / all;
  float* out_at = row.out == nullptr ? nullptr : row.out + uint64_t{head} * a.head_size;
  if (row.into) {
    if (empty) return;
    const float before = row.lse[head];
    const float2 weights = merge_weights(before, lse, &lse);
    __syncthreads();  // everybody has read the old lse
    if (d < a.head_size) value = out_at[d] * weights.x + value * weights.y;
  }
  if (out_at != nullptr && d < a.head_size) out_at[d] = value;
  if (row.lse != nullptr && d == 0) row.lse[head] = lse;
}

struct MergeStatesArgs {
  float* out_a;
  float* lse_a;
  const float* out_b;
  const float* lse_b;
  uint64_t vectors;
  uint32_t head_size;
};

/// One warp to a vector.
__global__ void merge_states_kernel(MergeStatesArgs a) {
  const uint64_t v = uint64_t{blockIdx.x} * (blockDim.x / kWarp) + warp_id();
  if (v >= a.vectors) return;
  const float lse_a = a.lse_a[v], lse_b = a.lse_b[v];
  if (fmaxf(lse_a, lse_b) == minus_infinity()) return;  // both empty: a stays as it is
  float lse;
  const float2 weights = merge_weights(lse_a, lse_b, &lse);
  const uint64_t at = v * a.head_size;
  for (uint32_t d = lane_id(); d < a.head_size; d += kWarp) {
    a.out_a[at + d] = a.out_a[at + d] * weights.x + a.out_b[at + d] * weights.y;
  }
  __syncwarp();  // everybody has read the old lse
  if (lane_id() == 0) a.lse_a[v] = lse;
}

}  // namespace

States take_states(CudaContext& context, uint64_t states, uint32_t head_size) {
  // The tops first, their end on a border of 16 bytes.
  const uint64_t tops = (states + 1) / 2 * 2;
  float* all = context.scratch_of<float>(CudaContext::kPartials, tops * 2 + states * head_size);
  if (all == nullptr) return {};
  return {reinterpret_cast<float2*>(all), all + tops * 2};
}

void merge_chunks(CudaContext& context, const States& states, const MergeRow* d_rows, uint32_t rows,
                  uint32_t heads, uint32_t head_size) {
  if (rows == 0 || context.failed()) return;
  MergeArgs args{};
  args.states = states;
  args.rows = d_rows;
  args.heads = heads;
  args.head_size = head_size;
  launch(context.shape(dim3(rows * heads), kMergeWarps * kWarp), &merge_chunks_kernel, args);
  context.check_launch("merge_chunks");
}

void merge_states(CudaContext& context, float* d_out_a, float* d_lse_a, const float* d_out_b,
                  const float* d_lse_b, uint32_t rows, uint32_t heads, uint32_t head_size) {
  const uint64_t vectors = uint64_t{rows} * heads;
  if (vectors == 0 || context.failed()) return;
  constexpr unsigned kWarps = 4;
  MergeStatesArgs args{};
  args.out_a = d_out_a;
  args.lse_a = d_lse_a;
  args.out_b = d_out_b;
  args.lse_b = d_lse_b;
  args.vectors = vectors;
  args.head_size = head_size;
  const dim3 grid(static_cast<unsigned>((vectors + kWarps - 1) / kWarps));
  launch(context.shape(grid, kWarps * kWarp), &merge_states_kernel, args);
  context.check_launch("merge_states");
}

}  // namespace ebb::kernels::cuda
