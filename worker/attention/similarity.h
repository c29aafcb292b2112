// When a layer's query has turned away from the one at its last choice: the dynamic schedule of
// Recycled Attention, shared by the policies that refresh by it. Pure.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

namespace ebb::worker {

/// Cosine of the angle between `a` and `b` (as long as each other), in [-1, 1]; 1 where one of them
/// has no direction: nothing has changed.
inline double cosine(std::span<const float> a, std::span<const float> b) {
  double product = 0, square_a = 0, square_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * b[i];
    square_a += double{a[i]} * a[i];
    square_b += double{b[i]} * b[i];
  }
  if (square_a == 0 || square_b == 0) return 1;
  return std::clamp(product / (std::sqrt(square_a) * std::sqrt(square_b)), -1.0, 1.0);
}

}  // namespace ebb::worker
