// How much of a common budget each layer should have, from what its own set costs it at several
// budgets. Pure: numbers in, weights out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ebb::score {

/// Own errors of all layers when everyone reads the same number of tokens.
struct OwnErrors {
  double fraction = 0;         ///< of the context that is read, above 0
  std::vector<double> errors;  ///< by layer
};

struct WeightLimits {
  double least = 0.5;
  double most = 2;
};

/// Weights of layers [first, layers), whose mean is 1; of those below, 1. Between the `measured`
/// fractions (ascending, at least two) a layer's log error is linear in the logarithm of what it
/// reads, and outside as in the nearest interval; a budget of `fraction` for each is dealt in
/// steps of 1/32 to whom the step helps most. Ties: the lower layer.
std::vector<double> weigh_layers(std::span<const OwnErrors> measured, double fraction,
                                 uint32_t first, const WeightLimits& limits = {});

}  // namespace ebb::score
