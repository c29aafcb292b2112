// Each scaling as `transformers` computes it (modeling_rope_utils.py), which for linear and YaRN is
// also what llama.cpp computes from GGUF metadata (ggml_rope_yarn).
#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/checksum.h"

namespace ebb::models {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

/// Llama 3.1: frequencies that turn less than low_frequency_factor times within the original
/// context are divided by the factor, those above high_frequency_factor stay, and between the two
/// the share of each changes linearly in the number of turns.
double llama3_frequency(double f, const RopeScaling& s) {
  const double turns = s.original_context * f / kTurn;
  if (turns < s.low_frequency_factor) return f / s.factor;
  if (turns > s.high_frequency_factor) return f;
  const double kept =
      (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
  return (1 - kept) * f / s.factor + kept * f;
}

/// The (real) index of the pair that turns `turns` times within the original context: the inverse
/// of f_i (YaRN, arXiv:2309.00071, section 3.2).
double pair_of_turns(double turns, double base, uint32_t dims, double original_context) {
  return dims * std::log(original_context / (turns * kTurn)) / (2 * std::log(base));
}

/// YaRN, "NTK by parts": pairs below `low` keep their frequency, pairs above `high` are divided by
/// the factor, and in between the two are mixed linearly in the pair's index.
void scale_yarn(std::vector<double>& frequencies, double base, uint32_t dims,
                const RopeScaling& s) {
  double low = pair_of_turns(s.beta_fast, base, dims, s.original_context);
  double high = pair_of_turns(s.beta_slow, base, dims, s.original_context);
  if (s.whole_ramp_ends) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  const double span = std::max(high - low, 0.001);  // no step is steeper: as both sources have it
  for (uint32_t pair = 0; pair < frequencies.size(); ++pair) {
    const double divided = std::clamp((pair - low) / span, 0.0, 1.0);
    double& f = frequencies[pair];
    f = f / s.factor * divided + f * (1 - divided);
  }
}

std::vector<double> plain_frequencies(double base, uint32_t dims) {
  std::vector<double> frequencies;
  for (uint32_t pair = 0; pair < dims / 2; ++pair)
    frequencies.push_back(std::pow(base, -2.0 * pair / dims));
  return frequencies;
}

}  // namespace

std::vector<double> rope_frequencies(double base, uint32_t dims, const RopeScaling& scaling) {
  std::vector<double> frequencies = plain_frequencies(base, dims);
  for (size_t i = 0; i < scaling.divisors.size(); ++i) frequencies[i] /= scaling.divisors[i];
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
    case RopeScaling::Kind::kDynamic:
      break;
    case RopeScaling::Kind::kLinear:  // position interpolation, arXiv:2306.15595, eq. 4
      for (double& f : frequencies) f /= scaling.factor;
      break;
    case RopeScaling::Kind::kYarn:
      scale_yarn(frequencies, base, dims, scaling);
      break;
    case RopeScaling::Kind::kLlama3:
      for (double& f : frequencies) f = llama3_frequency(f, scaling);
      break;
  }
  return frequencies;
}

double yarn_magnitude(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

Result<ModelShape> shape_for_context(ModelShape shape, uint32_t max_model_len) {
  if (max_model_len == 0) return shape;
  if (max_model_len > shape.context_most)
    return invalid("model.max_model_len: " + std::to_string(max_model_len) +
                   " is more than the model's context of " + std::to_string(shape.context_most));
  if (max_model_len > shape.context_length && shape.rope_dynamic_factor > 0) {
    // base' = base (factor L / L0 - (factor - 1))^(d / (d - 2)), with L0 the model's context.
    const double d = shape.rope_dims, factor = shape.rope_dynamic_factor;
    const double stretch = factor * max_model_len / shape.context_length - (factor - 1);
    shape.rope_base *= std::pow(stretch, d / (d - 2));
    shape.rope_frequencies = plain_frequencies(shape.rope_base, shape.rope_dims);
    shape.digest = DigestBuilder()
                       .add(std::string_view("ebb model in a longer context"))
                       .add(shape.digest)
                       .add_u64(max_model_len)
                       .digest();
  }
  shape.context_length = max_model_len;
  return shape;
}

}  // namespace ebb::models
