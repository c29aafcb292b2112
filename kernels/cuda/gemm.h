// Products of many rows: cuBLASLt where the machine has it, else a kernel of ours.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// How f32 inputs enter a product of many rows (sums are f32 in all): kTf32: 10 bits of mantissa;
/// kBf16: 7 bits, twice as fast.
enum class GemmInputs { kTf32, kBf16 };

class Gemm {
 public:
  /// Always succeeds: without cuBLASLt (or in emulation) products are computed by our own kernel.
  static std::unique_ptr<Gemm> make(CudaContext& context, GemmInputs inputs);
  virtual ~Gemm() = default;
  /// out[r * out_stride + n] = sum_k x[r * columns + k] * w[n * columns + k], w [outputs, columns]
  /// of `w_format`: kF32 or kBF16.
  struct Product {
    const float* d_x = nullptr;
    uint32_t rows = 0;
    const void* d_w = nullptr;
    WeightFormat w_format = WeightFormat::kF32;
    uint64_t outputs = 0;
    uint64_t columns = 0;
    float* d_out = nullptr;
    uint64_t out_stride = 0;
  };
  virtual void multiply(CudaContext& context, const Product& product) = 0;
  /// "cuBLASLt 13.1" or "own kernel (libcublasLt.so.13: not found)".
  virtual std::string name() const = 0;
};

}  // namespace ebb::kernels::cuda
