// Where anchors go, from errors and from a judge: the arithmetic of `ebb-score calibrate`. Pure:
// numbers in, layers out.
//
// An anchor reads every token, and every layer up to the next anchor reads the set that the anchor
// chose. Layer 0 is always the first one: below it there is none to choose for it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace ebb::score {

/// Layers, strictly ascending, 0 first.
using Anchors = std::vector<uint32_t>;
/// "0,2,7"
std::string anchors_text(const Anchors& anchors);
/// Errors: kInvalid (not ascending numbers from 0 below `layers`; `option` names it).
Result<Anchors> parse_anchors(const std::string& option, const std::string& text, uint32_t layers);

/// Tokens that a set has; sinks and window count in it.
struct SetSize {
  uint32_t budget = 0;
  uint32_t sinks = 0;
  uint32_t window = 0;
};

/// [l][s], s <= l: what it costs layer l to read the set of layer s.
using ErrorMatrix = std::vector<std::vector<double>>;

/// The sum of all layers' errors; anchors read everything, so theirs is 0.
double cost_of(const ErrorMatrix& errors, const Anchors& anchors);

/// For each number of anchors from 1 to `most` (at most the layers) those with the least cost;
/// element a - 1 has a of them. Ties: the lower layers. Dynamic programming over the last anchor.
std::vector<Anchors> best_anchors(const ErrorMatrix& errors, uint32_t most);

/// Other anchors, as many, that differ a little: each but the first moved by one or two layers, and
/// the `swaps` cheapest in which one is dropped and another layer taken instead. By cost,
/// ascending.
std::vector<Anchors> neighbours(const ErrorMatrix& errors, const Anchors& anchors, uint32_t swaps);

/// What is really lost with each of some anchors: the lower the better. Waits until it is known.
/// Errors end the search; kCancelled: out of time, and what was found so far stands.
using Judge = std::function<Result<std::vector<double>>(std::span<const Anchors>)>;

struct SearchLimits {
  uint32_t rounds = 4;
  uint32_t swaps = 6;  ///< of the neighbours that are judged in a round
};
struct SearchRound {
  uint32_t judged = 0;  ///< anchors that this round judged
  Anchors best;
  double loss = 0;
};
struct SearchOutcome {
  Anchors best;
  double loss = 0;
  std::vector<SearchRound> rounds;  ///< the first one is the start by itself
  bool is_local_best = false;       ///< no neighbour is better; else rounds or time ran out
};

/// Judges the start, then in each round all neighbours of the best so far, and the best moves of
/// several anchors together; goes on from the best of all. Never worse than its start.
Result<SearchOutcome> search_anchors(const Anchors& start, const ErrorMatrix& errors,
                                     const SearchLimits& limits, const Judge& judge);

}  // namespace ebb::score
