// One budget dealt to layers by weight. Pure arithmetic.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace ebb::models {

/// Where layers choose by digests for themselves: those below this one read everything, their
/// attention is not sparse enough.
constexpr uint32_t kFullByDigest = 2;

/// Tokens of the set that each of weights.size() layers reads. A hand is a run of layers that share
/// one set: it has the mean of its layers' weights (all above 0). Over the layers of all hands the
/// mean is `budget`, up to rounding, but no set has fewer than `least` tokens. Layers of no hand:
/// `budget`.
std::vector<uint32_t> deal_budget(uint32_t budget, uint32_t least, std::span<const double> weights,
                                  std::span<const LayerRange> hands);

}  // namespace ebb::models
