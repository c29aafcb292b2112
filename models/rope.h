// Rotary position embedding: the frequencies of a model's pairs, with every scaling that model
// files ask for. Plain arithmetic in double; reading the files is rope_facts.cpp's.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "models/model_shape.h"

namespace ebb::models {

/// How the rotation is stretched beyond the context that a model was first trained on.
struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kDynamic, kYarn, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1;
  uint32_t original_context = 0;  ///< tokens; kYarn and kLlama3
  double beta_fast = 32;          ///< kYarn: rotations within original_context, see ramp_ends()
  double beta_slow = 1;
  bool whole_ramp_ends = true;      ///< kYarn: the ramp begins and ends at whole pairs ("truncate")
  double low_frequency_factor = 1;  ///< kLlama3
  double high_frequency_factor = 4;
  std::vector<double> divisors;  ///< [dims / 2] or empty: rope_freqs.weight of a GGUF file
};

/// f_i = base^(-2 i / dims) radians per position (RoFormer, arXiv:2104.09864, section 3.2), then
/// scaled. kDynamic gives the unscaled ones: see shape_for_context(). `dims` even, at least 2.
std::vector<double> rope_frequencies(double base, uint32_t dims, const RopeScaling& scaling);

/// What YaRN multiplies cos and sin with unless the files say otherwise: 0.1 ln(factor) + 1, the
/// square root of 1/t in eq. 22 of arXiv:2309.00071; `weight` scales the logarithm.
double yarn_magnitude(double factor, double weight = 1);

/// The shape for a service whose sequences have at most `max_model_len` tokens; 0: the model's own
/// context. Within that context nothing changes. Beyond it, up to shape.context_most, a model with
/// dynamic NTK scaling gets the base that `max_model_len` tokens need, for every sequence whatever
/// its length: KV rows must not depend on how long their sequence will become. That base is part of
/// the digest. Errors: kInvalid (more than context_most).
Result<ModelShape> shape_for_context(ModelShape shape, uint32_t max_model_len);

}  // namespace ebb::models
