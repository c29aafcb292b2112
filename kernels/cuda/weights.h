// Weights on the device and what is computed with them. Quantised weights stay as they are in the
// file: few rows are multiplied with values that are dequantised in registers, many rows after the
// weight was dequantised, a panel at a time, into scratch: as bf16 where products take bf16, else
// as f32. Each function enqueues on the context's stream.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

class Gemm;

/// Rows of blocks as in the file, each filled up with zeros to `pitch` bytes (matmul_shapes.h), in
/// device memory; a weight of one row is kept as f32.
class CudaWeight final : public Weight {
 public:
  /// Errors: those of check_weight_source; kExhausted.
  static Result<std::unique_ptr<Weight>> make(CudaContext& context, Device& device,
                                              const WeightSource& source);
  uint64_t rows() const override { return rows_; }
  uint64_t columns() const override { return columns_; }
  uint64_t resident_bytes() const override { return data_.size(); }

  WeightFormat format() const { return format_; }
  uint64_t pitch() const { return pitch_; }
  const std::byte* d_data() const { return data_.bytes_ptr(); }
  /// Of a weight of one row: [columns] f32.
  const float* d_vector() const;

 private:
  CudaWeight() = default;
  Buffer data_;
  WeightFormat format_ = WeightFormat::kF32;
  uint64_t rows_ = 0;
  uint64_t columns_ = 0;
  uint64_t pitch_ = 0;
};

inline const CudaWeight& own(const Weight& weight) {
  return static_cast<const CudaWeight&>(weight);
}

/// kernels/ops.h, embed.
void embed(CudaContext& context, const CudaWeight& table, std::span<const TokenId> ids,
           float* d_out);
/// kernels/ops.h, matmul. At most 8 rows: each row's bits do not depend on the others.
void matmul(CudaContext& context, Gemm& gemm, const float* d_x, uint32_t rows, const CudaWeight& w,
            float* d_out, uint64_t out_stride);

}  // namespace ebb::kernels::cuda
