#include "models/layer_budgets.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ebb::models {

std::vector<uint32_t> deal_budget(uint32_t budget, uint32_t least, std::span<const double> weights,
                                  std::span<const LayerRange> hands) {
  const auto weight_of = [&](const LayerRange& hand) {
    const auto of_hand = weights.subspan(hand.begin, hand.size());
    return std::accumulate(of_hand.begin(), of_hand.end(), 0.0);
  };
  double all = 0, layers = 0;
  for (const LayerRange& hand : hands) {
    all += weight_of(hand);
    layers += hand.size();
  }
  std::vector<uint32_t> budgets(weights.size(), budget);
  for (const LayerRange& hand : hands) {
    const double share = weight_of(hand) / hand.size() * layers / all;
    const auto tokens = static_cast<uint32_t>(std::lround(share * budget));
    std::fill(budgets.begin() + hand.begin, budgets.begin() + hand.end, std::max(tokens, least));
  }
  return budgets;
}

}  // namespace ebb::models
