// What every backend asks of a weight before it takes it.
#pragma once

#include "base/result.h"
#include "kernels/ops.h"

namespace ebb::kernels {

/// Errors: kUnsupported (a format this version does not know), kInvalid (empty, no data, columns
/// that are not whole blocks, rows that overlap); each names the field and its value.
Result<void> check_weight_source(const WeightSource& source);

}  // namespace ebb::kernels
