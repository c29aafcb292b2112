#include "score/fetches.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "score/lru.h"

namespace ebb::score {

std::map<uint32_t, std::vector<std::vector<uint32_t>>> sets_by_layer(const Trace& trace) {
  std::map<uint32_t, std::vector<std::vector<uint32_t>>> out;
  for (const auto& step : trace) {
    std::map<uint32_t, std::set<uint32_t>> chosen;
    for (const Selection& selection : step)
      chosen[selection.layer].insert(selection.positions.begin(), selection.positions.end());
    for (const auto& [layer, positions] : chosen)
      out[layer].emplace_back(positions.begin(), positions.end());
  }
  return out;
}

namespace {

/// Rows of all the sets together.
double rows_of(const std::vector<std::vector<uint32_t>>& steps) {
  double rows = 0;
  for (const auto& set : steps) rows += static_cast<double>(set.size());
  return rows;
}

}  // namespace

std::array<FetchCount, kBufferShares.size()> count_fetches(const Trace& trace, uint64_t prefilled) {
  std::array<FetchCount, kBufferShares.size()> out;
  const auto layers = sets_by_layer(trace);
  double rows = 0, sets = 0;
  for (const auto& [layer, steps] : layers) {
    rows += rows_of(steps);
    sets += static_cast<double>(steps.size());
  }
  for (const auto& [layer, steps] : layers) {
    const double share = rows_of(steps) / static_cast<double>(steps.size()) / (rows / sets);
    for (size_t i = 0; i < out.size(); ++i) {
      const double of_mean = static_cast<double>(prefilled / kBufferShares[i]);
      const auto capacity = static_cast<uint64_t>(std::max(1.0, std::round(share * of_mean)));
      const HitCount count = simulate_lru(steps, capacity, prefilled);
      out[i].rows += count.reads - count.hits;
      out[i].places += trace.size() - 1;
    }
  }
  return out;
}

}  // namespace ebb::score
