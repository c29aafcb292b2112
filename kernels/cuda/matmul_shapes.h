// How a product of activations and a weight is cut up: pure functions of its shape and the device,
// so that they are tested where there is none.
#pragma once

#include <cstdint>

#include "kernels/weight_format.h"

namespace ebb::kernels::cuda {

/// Rows that the kernel for few rows takes at once, and for which kernels/ops.h promises bits that
/// do not depend on how many there are.
constexpr uint32_t kFewRows = 8;
/// Warps of its blocks.
constexpr uint32_t kFewWarps = 4;

/// Bytes from one row of a weight to the next on the device: whole multiples of 32.
uint64_t weight_pitch(WeightFormat format, uint64_t columns);

/// Warps that share an output, 1, 2 or 4: as few as keep the device busy, for what they hold must
/// be added up at the end. It decides the order of the sum, so it must not depend on the rows.
uint32_t few_warps_per_output(uint64_t outputs, uint64_t columns, uint32_t multiprocessors);

/// Outputs that a warp computes side by side, so that each value of x is loaded once for all of
/// them; `rows` 1, 2, 4 or 8. Registers bound the product of the two.
constexpr uint32_t few_outputs_per_warp(uint32_t rows) { return rows <= 2 ? 4 : 2; }

/// Blocks of the kernel for few rows. At most 2^31 - 1 even for the largest weight.
uint32_t few_blocks(uint64_t outputs, uint32_t outputs_per_warp, uint32_t warps_per_output);

enum class Route : uint8_t { kFew, kTensor, kGemm };
/// Which kernels multiply `rows` rows. `direct`: a Gemm takes the weight as it is; where it must be
/// dequantised first, that costs about as much as reading a quantised weight a dozen times, and
/// four passes of the kernel for few rows are well below it. `tensor`: multiply_tensor takes it.
Route product_route(uint32_t rows, bool direct, bool tensor);

/// Outputs that are dequantised into scratch at once: at most 32 MiB of them, so that the product
/// finds them in the L2 cache of the larger devices; at least one.
uint64_t panel_outputs(uint64_t outputs, uint64_t columns, uint32_t element_bytes);

}  // namespace ebb::kernels::cuda
