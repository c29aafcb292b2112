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
/// one set: it has the mean of its layers' weights (all above 0). Every set has the `forced` tokens
/// (fewer than budget); the others are dealt by weight, at least one to each. Over the layers of
/// all hands the mean is `budget`, up to rounding. Layers of no hand: `budget`.
std::vector<uint32_t> deal_budget(uint32_t budget, uint32_t forced, std::span<const double> weights,
                                  std::span<const LayerRange> hands);

/// Rows of a released band's pool, where a layer that reads K = `budget` tokens has `hot_tokens`:
/// in proportion to the largest set of its layers, and never fewer than that set, a granule that is
/// being restored, and the newest token. Without `layer_budgets` hot_tokens.
uint32_t band_hot_tokens(uint32_t hot_tokens, uint32_t budget, uint32_t granule_tokens,
                         std::span<const uint32_t> layer_budgets, LayerRange band);

}  // namespace ebb::models
