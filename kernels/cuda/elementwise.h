// Operations whose elements, or whose rows, do not know of each other. Each enqueues on the
// context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, rms_norm, over vectors of `width` floats that begin at row * row_stride + head *
/// width: `heads` of them a row. d_gain [width].
struct NormArgs {
  const float* d_x = nullptr;
  float* d_out = nullptr;
  uint64_t row_stride = 0;
  uint32_t rows = 0;
  uint32_t heads = 1;
  uint32_t width = 0;
  const float* d_gain = nullptr;
  float epsilon = 0;
};
void rms_norm(CudaContext& context, const NormArgs& args);

void add_bias(CudaContext& context, float* d_x, uint64_t row_stride, uint32_t rows,
              const float* d_bias, uint32_t columns);
void add(CudaContext& context, float* d_x, const float* d_y, uint64_t count);
void silu_mul(CudaContext& context, const float* d_gate_up, uint32_t rows, uint32_t width,
              float* d_out);

/// The rotation of the model: frequencies on the device, in double.
class Rope {
 public:
  /// Errors: those of check_rope; kExhausted.
  static Result<Rope> make(CudaContext& context, Device& device, const RopeArgs& args);
  Rope() = default;
  uint32_t dims() const { return 2 * pairs_; }
  void turn(CudaContext& context, float* d_x, uint64_t row_stride, uint32_t heads,
            uint32_t head_size, std::span<const Position> positions) const;

 private:
  Buffer frequencies_;
  uint32_t pairs_ = 0;
  float magnitude_ = 1;
  bool interleaved_ = true;
};

}  // namespace ebb::kernels::cuda
