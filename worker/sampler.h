// From logits to a token, on rank 0. Random numbers are keyed by seed and position, so that the
// same request gives the same tokens whatever else is in the batch.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "transport/control/messages.h"

namespace ebb::worker {

/// Natural log-probability of `token` and the `top` best (ties: lower id first), before temperature
/// and filters. logits [vocabulary].
control::TokenLogprob score_token(std::span<const float> logits, TokenId token, uint32_t top);

/// Greedy at temperature 0 (ties: lower id). Otherwise, in this order: divide by temperature, keep
/// the top_k best, keep the smallest set whose probability reaches top_p (nucleus sampling,
/// arXiv:1904.09751; the token that crosses the line is kept), draw. `position` is the position
/// that the token will have.
TokenId sample_token(std::span<const float> logits, const control::SamplingParams& params,
                     Position position);

/// In [0, 1), a function of its arguments alone (SplitMix64).
double keyed_uniform(uint64_t seed, uint64_t position);

}  // namespace ebb::worker
