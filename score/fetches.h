// What was selected, as reads of hot buffers: how many rows buffers of some sizes would have to
// fetch in each step. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "score/backend.h"

namespace ebb::score {

using Trace = std::vector<std::vector<Selection>>;  ///< by step

/// Positions by layer, one list for each step in which the layer chose. Sets of single heads become
/// their union: a buffer keeps a token's rows of all heads together.
std::map<uint32_t, std::vector<std::vector<uint32_t>>> sets_by_layer(const Trace& trace);

struct FetchCount {
  uint64_t rows = 0;
  uint64_t places = 0;  ///< layers that select, times steps
  double per_place() const {
    return places == 0 ? 0 : static_cast<double>(rows) / static_cast<double>(places);
  }
};
/// Of n prefilled tokens, buffers have n / 8, n / 4 and n / 2 rows in the mean over layers.
constexpr std::array<uint64_t, 3> kBufferShares = {8, 4, 2};
/// An LRU for each layer that selects, in proportion to the layer's sets, as hot pools are dealt
/// (models/layer_budgets.h), as simulate_lru() has it (score/lru.h): the first step fills it and is
/// not counted. Steps in which a layer keeps its set fetch nothing, and count.
std::array<FetchCount, kBufferShares.size()> count_fetches(const Trace& trace, uint64_t prefilled);

}  // namespace ebb::score
