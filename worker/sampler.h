// From logits to a token, on rank 0: penalties, filters and the draw, without any memory of a
// sequence. Random numbers are keyed by seed and position, so that the same request gives the same
// tokens whatever else is in the batch. The formulas and their order: docs/sampling.md.
#pragma once

#include <span>
#include <vector>

#include "kernels/draw.h"
#include "transport/control/messages.h"

namespace ebb::worker {

/// Natural log-probability of `token` and the `top` best (ties: lower id first) under the model's
/// own distribution: before penalties, bias, masks, temperature and filters. logits [vocabulary].
control::TokenLogprob score_token(std::span<const float> logits, TokenId token, uint32_t top);
/// 1 + tokens that are more probable than `token`.
uint32_t rank_of_token(std::span<const float> logits, TokenId token);

using kernels::SeenToken;
/// Repetition penalty (CTRL, arXiv:1909.05858, section 4.1; as usual negative logits are
/// multiplied) over all of `seen`, then presence and frequency penalties (OpenAI's: minus
/// presence * [n > 0] + frequency * n) over what was generated, then the biases. In place.
void adjust_logits(std::span<float> logits, const control::SamplingParams& params,
                   std::span<const SeenToken> seen);

/// Draws tokens. Holds only scratch memory. One thread.
class Sampler {
 public:
  /// Greedy at temperature 0 (ties: lower id). Otherwise, each step on what the one before left,
  /// renormalised: divide by temperature; keep the top_k best; the typical_p most typical
  /// (arXiv:2202.00666); the smallest set of the best whose probability reaches top_p (nucleus,
  /// arXiv:1904.09751: the token that crosses the line is kept); those with at least min_p of the
  /// best one's probability (arXiv:2407.01082); draw. Logits of -inf are never drawn; one at least
  /// must be finite. `position` is the one that the token will have. Selects, never sorts the
  /// whole vocabulary.
  TokenId sample(std::span<const float> logits, const control::SamplingParams& params,
                 Position position);

 private:
  struct Candidate {
    TokenId token = 0;
    float logit = 0;
    double weight = 0;    ///< exp((logit - best) / temperature)
    double distance = 0;  ///< of typical sampling
  };
  double weigh(float temperature);
  double keep_typical(double sum, double share);
  double keep_nucleus(double sum, double share);
  double keep_likely(double share);
  std::vector<Candidate> kept_;
};

/// In [0, 1), a function of its arguments alone (SplitMix64).
double keyed_uniform(uint64_t seed, uint64_t position);

}  // namespace ebb::worker
