// Products of at most eight rows: the weight is read once, dequantised in registers, f32 sums.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// out[r * out_stride + n] = sum_k x[r * columns + k] * w[n, k]; w: rows of `pitch` bytes.
struct FewProduct {
  const float* d_x = nullptr;
  uint32_t rows = 0;  ///< at most kFewRows
  const std::byte* d_w = nullptr;
  WeightFormat format = WeightFormat::kF32;
  uint64_t pitch = 0;
  uint64_t outputs = 0;
  uint32_t columns = 0;
  float* d_out = nullptr;
  uint64_t out_stride = 0;
};

/// The bits of a row depend on its own x, the weight and the device, on nothing else. Enqueues.
void multiply_few(CudaContext& context, const FewProduct& product);

}  // namespace ebb::kernels::cuda
