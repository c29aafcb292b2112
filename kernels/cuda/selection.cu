// See selection.h.
#include "kernels/cuda/selection.h"

#include "base/check.h"

namespace ebb::kernels::cuda {

void score_max(CudaContext&, const float*, const float*, uint32_t, uint32_t, float*) {
  EBB_CHECK(false);
}

std::vector<Scored> top_k(CudaContext&, const float*, uint32_t, uint32_t, uint32_t) {
  EBB_CHECK(false);
}

void scale_scores(CudaContext&, float*, std::span<const Position>, float) {
  EBB_CHECK(false);
}


}  // namespace ebb::kernels::cuda
