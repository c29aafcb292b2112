// What every backend asks of a weight and of the rotation before it takes them.
#pragma once

#include "base/result.h"
#include "kernels/ops.h"

namespace ebb::kernels {

/// Errors: kUnsupported (a format this version does not know), kInvalid (empty, no data, columns
/// that are not whole blocks, rows that overlap); each names the field and its value.
Result<void> check_weight_source(const WeightSource& source);

/// Errors: kInvalid (no frequencies, more than half a head of the largest size, a number that is
/// not finite, a magnitude that is not above 0); names the field.
Result<void> check_rope(const RopeArgs& args);

}  // namespace ebb::kernels
