#include "score/budget_weights.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace ebb::score {
namespace {

/// Errors below this do not count, and their logarithm must be a number.
constexpr double kErrorMin = 1e-12;
constexpr int kSteps = 32;  ///< of a weight of 1

double error_at(std::span<const OwnErrors> measured, uint32_t layer, double fraction) {
  size_t upper = 1;
  while (upper + 1 < measured.size() && measured[upper].fraction < fraction) ++upper;
  const OwnErrors& a = measured[upper - 1];
  const OwnErrors& b = measured[upper];
  const double log_a = std::log(std::max(a.errors[layer], kErrorMin));
  const double log_b = std::log(std::max(b.errors[layer], kErrorMin));
  const double along = std::log(fraction / a.fraction) / std::log(b.fraction / a.fraction);
  return std::exp(log_a + along * (log_b - log_a));
}

}  // namespace

std::vector<double> weigh_layers(std::span<const OwnErrors> measured, double fraction,
                                 uint32_t first, const WeightLimits& limits) {
  EBB_CHECK(measured.size() >= 2 && fraction > 0);
  const auto layers = static_cast<uint32_t>(measured[0].errors.size());
  EBB_CHECK(first < layers && limits.least <= 1 && limits.most >= 1);
  // In whole steps: no sum of roundings decides.
  const int least = static_cast<int>(std::ceil(limits.least * kSteps));
  const int most = static_cast<int>(std::floor(limits.most * kSteps));
  std::vector<int> steps(layers, kSteps);
  std::fill(steps.begin() + first, steps.end(), least);
  const auto gain = [&](uint32_t layer) {
    const double now = steps[layer] * fraction / kSteps;
    return error_at(measured, layer, now) - error_at(measured, layer, now + fraction / kSteps);
  };
  for (auto left = static_cast<int>(layers - first) * (kSteps - least); left > 0; --left) {
    uint32_t best = layers;
    double best_gain = 0;
    for (uint32_t layer = first; layer < layers; ++layer) {
      if (steps[layer] >= most) continue;
      const double of_layer = gain(layer);
      if (best < layers && of_layer <= best_gain) continue;
      best = layer;
      best_gain = of_layer;
    }
    ++steps[best];  // somebody is below `most`: the mean of all is 1
  }
  std::vector<double> weights;
  for (const int of_layer : steps) weights.push_back(static_cast<double>(of_layer) / kSteps);
  return weights;
}

}  // namespace ebb::score
