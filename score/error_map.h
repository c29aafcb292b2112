// The picture of a calibration: which layer can use which layer's set, and which one the chosen
// anchors give it. Data in, SVG out.
#pragma once

#include <string>
#include <vector>

#include "score/anchor_search.h"

namespace ebb::score {

struct ErrorMap {
  std::string title;
  std::vector<std::string> notes;  ///< below the title
  ErrorMatrix errors;
  Anchors anchors;  ///< may be empty
};

/// Rows are layers l, columns layers s <= l whose set l reads; dark is a large error, on a
/// logarithmic scale. A frame marks what the anchors give each layer.
std::string draw(const ErrorMap& map);

}  // namespace ebb::score
