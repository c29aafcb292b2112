// Decimal numbers between two limits, exactly, as parts of a grammar: minimum and maximum of a JSON
// schema. Must not know schemas.
#pragma once

#include <cstdint>
#include <optional>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

/// Whole numbers of a grammar lie within.
constexpr int64_t kIntegerMax = 999'999'999'999'999'999;
/// Limits of numbers with a fraction, and the digits of that fraction: a double tells all such
/// numbers apart from the limits.
constexpr int64_t kRealLimitMax = 1'000'000'000;
constexpr uint32_t kRangeFractionDigits = 6;

/// Whole numbers from `low` to `high`, both included, within +-kIntegerMax; low <= high.
void add_integers(GrammarBuilder& builder, State from, int64_t low, int64_t high, State to);

struct RealLimit {
  int64_t value = 0;  ///< within +-kRealLimitMax
  bool open = false;  ///< the value itself is not allowed
};
/// Numbers between the limits, without exponent and with up to kRangeFractionDigits digits after
/// the point. No limit: up to kIntegerMax.
void add_reals(GrammarBuilder& builder, State from, std::optional<RealLimit> low,
               std::optional<RealLimit> high, State to);

}  // namespace ebb::models::grammar
