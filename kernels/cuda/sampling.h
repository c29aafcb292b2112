// From logits to tokens without bringing the logits to the host: what worker/sampler.h does, for
// the parameters that need no history (penalties and masks are applied before; typical_p is the
// host's).
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

struct Sampling {
  float temperature = 1;  ///< 0: the best logit; ties: lower id
  uint32_t top_k = 0;     ///< 0: off
  float top_p = 1;
  float min_p = 0;
  double uniform = 0;  ///< in [0, 1): the caller's random number, keyed by seed and position
};

/// Threads of a row's block: whole warps, sixteen tokens each while there are not too many.
constexpr uint32_t sampling_threads(uint32_t vocabulary) {
  return std::clamp((vocabulary / 16 + kWarp - 1) / kWarp * kWarp, kWarp, 1024u);
}

/// One token for each row of logits [samplings, vocabulary]; waits. The filters and their order are
/// those of docs/sampling.md. Probabilities are counted in units of 2^-44 of the best one's, as
/// whole numbers: sums do not depend on any order, and a token is another than that of a sum in
/// doubles only where `uniform` falls within 1e-9 of a border between two tokens. Logits of -inf
/// are never drawn; one at least must be finite.
std::vector<TokenId> sample(CudaContext& context, const float* d_logits, uint32_t vocabulary,
                            std::span<const Sampling> samplings);

}  // namespace ebb::kernels::cuda
