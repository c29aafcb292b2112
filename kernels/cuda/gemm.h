// Products of many rows: cuBLASLt where the machine has it, else a kernel of ours.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// How f32 inputs enter a product of many rows (sums are f32 in all): kTf32: 10 bits of mantissa;
/// kBf16: 7 bits, twice as fast. Our own kernel, where there is no cuBLASLt, takes x as it is.
enum class GemmInputs { kTf32, kBf16 };

class Gemm {
 public:
  /// Always succeeds: without cuBLASLt (or in emulation) products are computed by our own kernel.
  static std::unique_ptr<Gemm> make(CudaContext& context, GemmInputs inputs);
  virtual ~Gemm() = default;
  /// The format in which multiply() takes weights: kF32 or kBF16.
  virtual WeightFormat weight_format() const = 0;
  /// out[r * out_stride + n] = sum_k x[r * columns + k] * w[n * w_stride + k]; w [outputs, columns]
  /// of weight_format().
  struct Product {
    const float* d_x = nullptr;
    uint32_t rows = 0;
    const void* d_w = nullptr;
    uint64_t w_stride = 0;  ///< elements
    uint64_t outputs = 0;
    uint64_t columns = 0;
    float* d_out = nullptr;
    uint64_t out_stride = 0;
  };
  virtual void multiply(CudaContext& context, const Product& product) = 0;
  /// "cuBLASLt 13.1" or "own kernel (libcublasLt.so.13: not found)".
  virtual std::string name() const = 0;
};

/// Our own kernel. `why`: why it is used, for name().
std::unique_ptr<Gemm> make_own_gemm(GemmInputs inputs, const std::string& why);

}  // namespace ebb::kernels::cuda
