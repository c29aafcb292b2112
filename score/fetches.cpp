#include "score/fetches.h"

#include <algorithm>
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

std::array<FetchCount, kBufferShares.size()> count_fetches(const Trace& trace, uint64_t prefilled) {
  std::array<FetchCount, kBufferShares.size()> out;
  for (const auto& [layer, steps] : sets_by_layer(trace)) {
    for (size_t i = 0; i < out.size(); ++i) {
      const uint64_t capacity = std::max<uint64_t>(1, prefilled / kBufferShares[i]);
      const HitCount count = simulate_lru(steps, capacity, prefilled);
      out[i].rows += count.reads - count.hits;
      out[i].places += trace.size() - 1;
    }
  }
  return out;
}

}  // namespace ebb::score
