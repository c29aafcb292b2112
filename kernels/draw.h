// From logits to tokens where the logits are (docs/sampling.md: formulas and their order): what a
// backend is told of each row. worker/sampler.h does the same with logits on the host.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace ebb::kernels {

/// How often a token has come so far.
struct SeenToken {
  TokenId token = 0;
  uint32_t generated = 0;  ///< times in the answer; 0: in the prompt only
};

struct LogitBias {
  TokenId token = 0;
  float bias = 0;
};

/// One token to be drawn. Spans are host memory, read before Ops::draw returns; ids are below the
/// vocabulary.
struct Draw {
  uint32_t row = 0;  ///< of the logits
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::span<const SeenToken> seen;    ///< distinct tokens, to which the penalties apply
  std::span<const LogitBias> biases;  ///< distinct tokens
  std::span<const uint64_t> allowed;  ///< bit i % 64 of word i / 64: token i may come; empty: all
  float temperature = 1;              ///< 0: the best logit; ties: lower id
  uint32_t top_k = 0;                 ///< 0: off
  float typical_p = 1;
  float top_p = 1;
  float min_p = 0;
  double uniform = 0;  ///< in [0, 1): the caller's random number, keyed by seed and position
  bool adjusts() const { return !seen.empty() || !biases.empty() || !allowed.empty(); }
};

/// What is drawn where no token may come.
constexpr TokenId kNoToken = -1;

}  // namespace ebb::kernels
