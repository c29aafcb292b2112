// See selection.h.
#include "kernels/cuda/selection.h"

#include <algorithm>

#include "kernels/cuda/launch_shapes.h"

namespace ebb::kernels::cuda {
namespace {

/// One thread to an entry; neighbours read neighbours in each head's row of logits. exp grows with
/// its argument, so one of them is enough. What is no number is no maximum.
__global__ void score_max_kernel(const float* logits, const float* lse, uint32_t heads,
                                 uint32_t count, float* scores) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t e = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; e < count; e += step) {
    float most = kVeryLow;
    for (uint32_t h = 0; h < heads; ++h) {
      const float x = logits[uint64_t{h} * count + e] - lse[h];
      most = x > most ? x : most;
    }
    scores[e] = expf(most);
  }
}

__global__ void scale_scores_kernel(float* scores, const Position* positions, uint32_t count,
                                    float factor) {
  const uint32_t step = gridDim.x * blockDim.x;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    scores[positions[i]] *= factor;
  }
}

/// A position listed n times is scaled n times: here, one after the other.
__global__ void scale_scores_in_order_kernel(float* scores, const Position* positions,
                                             uint32_t count, float factor) {
  for (uint32_t i = 0; i < count; ++i) scores[positions[i]] *= factor;
}

bool all_different(std::span<const Position> positions) {
  const auto no_step_up = [](Position a, Position b) { return a >= b; };
  if (std::adjacent_find(positions.begin(), positions.end(), no_step_up) == positions.end()) {
    return true;
  }
  std::vector<Position> sorted(positions.begin(), positions.end());
  std::sort(sorted.begin(), sorted.end());
  return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
}

}  // namespace

void score_max(CudaContext& context, const float* d_logits, const float* d_lse, uint32_t heads_q,
               uint32_t count, float* d_scores) {
  if (count == 0 || context.failed()) return;
  const FlatShape shape = flat_shape(count, context.multiprocessors());
  launch(context.shape(shape.blocks, shape.threads), &score_max_kernel, d_logits, d_lse, heads_q,
         count, d_scores);
  context.check_launch("score_max");
}

void scale_scores(CudaContext& context, float* d_scores, std::span<const Position> positions,
                  float factor) {
  if (positions.empty() || context.failed()) return;
  const auto count = static_cast<uint32_t>(positions.size());
  const Position* d_positions = context.upload(positions);
  if (!all_different(positions)) {
    launch(context.shape(1, 1), &scale_scores_in_order_kernel, d_scores, d_positions, count,
           factor);
  } else {
    const FlatShape shape = flat_shape(count, context.multiprocessors());
    launch(context.shape(shape.blocks, shape.threads), &scale_scores_kernel, d_scores, d_positions,
           count, factor);
  }
  context.check_launch("scale_scores");
}

}  // namespace ebb::kernels::cuda
