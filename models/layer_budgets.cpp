#include "models/layer_budgets.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace ebb::models {

std::vector<uint32_t> deal_budget(uint32_t budget, uint32_t forced, std::span<const double> weights,
                                  std::span<const LayerRange> hands) {
  const auto weight_of = [&](const LayerRange& hand) {
    const auto of_hand = weights.subspan(hand.begin, hand.size());
    return std::accumulate(of_hand.begin(), of_hand.end(), 0.0);
  };
  EBB_CHECK(forced < budget);
  double all = 0, layers = 0;
  for (const LayerRange& hand : hands) {
    all += weight_of(hand);
    layers += hand.size();
  }
  std::vector<uint32_t> budgets(weights.size(), budget);
  for (const LayerRange& hand : hands) {
    const double share = weight_of(hand) / hand.size() * layers / all;
    const auto dealt = static_cast<uint32_t>(std::lround(share * (budget - forced)));
    std::fill(budgets.begin() + hand.begin, budgets.begin() + hand.end,
              forced + std::max(dealt, 1u));
  }
  return budgets;
}

uint32_t band_hot_tokens(uint32_t hot_tokens, uint32_t budget, uint32_t granule_tokens,
                         std::span<const uint32_t> layer_budgets, LayerRange band) {
  if (layer_budgets.empty()) return hot_tokens;
  const auto of_band = layer_budgets.subspan(band.begin, band.size());
  const uint32_t most = *std::max_element(of_band.begin(), of_band.end());
  const uint64_t share = (uint64_t{hot_tokens} * most + budget - 1) / budget;
  return static_cast<uint32_t>(std::max<uint64_t>(share, uint64_t{most} + granule_tokens + 1));
}

}  // namespace ebb::models
