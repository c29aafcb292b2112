// See weights.h.
#include "kernels/cuda/weights.h"

#include <vector>

#include "base/check.h"
#include "kernels/cuda/gemm.h"
#include "kernels/weight_check.h"

namespace ebb::kernels::cuda {

Result<std::unique_ptr<Weight>> CudaWeight::make(CudaContext& context, Device& device,
                                                 const WeightSource& source) {
  EBB_TRY_VOID(check_weight_source(source));
  auto weight = std::make_unique<CudaWeight>();
  weight->format_ = source.format;
  weight->rows_ = source.rows;
  weight->columns_ = source.columns;
  const uint64_t row_bytes = weight_row_bytes(source.format, source.columns);
  weight->data_ = EBB_TRY(device.allocate(source.rows * row_bytes, MemoryKind::kDevice));
  for (uint64_t r = 0; r < source.rows; ++r) {
    device.copy_to_device(weight->data_.bytes_ptr() + r * row_bytes,
                          source.data + r * source.row_stride, row_bytes);
  }
  if (context.failed()) return context.error();
  return std::unique_ptr<Weight>(std::move(weight));
}

const float* CudaWeight::d_vector() const {
  EBB_CHECK(rows_ == 1 && format_ == WeightFormat::kF32);
  return data_.floats();
}

void embed(CudaContext&, const CudaWeight&, std::span<const TokenId>, float*) { EBB_CHECK(false); }
void matmul(CudaContext&, Gemm&, const float*, uint32_t, const CudaWeight&, float*, uint64_t) {
  EBB_CHECK(false);
}

}  // namespace ebb::kernels::cuda
