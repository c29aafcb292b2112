// See matmul_shapes.h.
#include "kernels/cuda/matmul_shapes.h"

#include <algorithm>

namespace ebb::kernels::cuda {

uint64_t weight_pitch(WeightFormat format, uint64_t columns) {
  constexpr uint64_t kAlign = 32;
  return (weight_row_bytes(format, columns) + kAlign - 1) / kAlign * kAlign;
}

uint32_t few_warps_per_output(uint64_t outputs, uint64_t columns, uint32_t multiprocessors) {
  // Sixteen warps a multiprocessor have about 32 KiB of loads under way, which is what memory's
  // delay times its bandwidth asks for.
  constexpr uint64_t kWarpsWanted = 16, kUnitsOfAWarp = 32 * 8;
  const uint64_t groups = (outputs + 1) / 2;
  uint32_t warps = 1;
  while (warps < kFewWarps && groups * warps < kWarpsWanted * multiprocessors &&
         columns >= 2 * warps * kUnitsOfAWarp) {
    warps *= 2;
  }
  return warps;
}

uint32_t few_blocks(uint64_t outputs, uint32_t outputs_per_warp, uint32_t warps_per_output) {
  const uint64_t block_outputs = uint64_t{kFewWarps / warps_per_output} * outputs_per_warp;
  const uint64_t blocks = (outputs + block_outputs - 1) / block_outputs;
  return static_cast<uint32_t>(std::clamp<uint64_t>(blocks, 1, 0x7fffffff));
}

Route product_route(uint32_t rows, bool direct, bool tensor) {
  constexpr uint32_t kPasses = 4, kTensorRowsMax = 64;
  if (rows <= kFewRows) return Route::kFew;
  if (direct) return Route::kGemm;
  if (tensor && rows <= kTensorRowsMax) return Route::kTensor;
  return rows <= kPasses * kFewRows ? Route::kFew : Route::kGemm;
}

uint64_t panel_outputs(uint64_t outputs, uint64_t columns, uint32_t element_bytes) {
  constexpr uint64_t kPanelBytes = uint64_t{32} << 20, kWhole = 128;
  const uint64_t row_bytes = std::max<uint64_t>(columns, 1) * element_bytes;
  uint64_t fit = kPanelBytes / row_bytes;
  if (fit > kWhole) fit = fit / kWhole * kWhole;  // whole tiles of the product
  return std::clamp<uint64_t>(fit, 1, std::max<uint64_t>(outputs, 1));
}

}  // namespace ebb::kernels::cuda
