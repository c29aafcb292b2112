// What one element of a stored weight is, by the definition in weight_format.h. Exact: the same
// float32 operations in the same order as the formats' reference implementation.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace ebb::kernels {

/// binary16 and bfloat16 by their definitions.
float f16_to_float(uint16_t bits);
float bf16_to_float(uint16_t bits);

/// Element `index` (below the format's block size) of the block that begins at `block`.
float weight_element(WeightFormat format, const std::byte* block, uint32_t index);

}  // namespace ebb::kernels
