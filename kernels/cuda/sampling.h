// From logits to tokens without bringing the logits to the host: what worker/sampler.h does.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// Threads of a row's block: whole warps, sixteen tokens each while there are not too many.
constexpr uint32_t sampling_threads(uint32_t vocabulary) {
  return std::clamp((vocabulary / 16 + kWarp - 1) / kWarp * kWarp, kWarp, 1024u);
}

/// kernels/ops.h, Ops::draw. Probabilities are counted in units of 2^-44 of the best one's, as
/// whole numbers: sums do not depend on any order.
std::vector<TokenId> draw(CudaContext& context, const float* d_logits, uint32_t vocabulary,
                          std::span<const Draw> rows);

}  // namespace ebb::kernels::cuda
