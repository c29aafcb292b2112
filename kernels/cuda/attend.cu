// See attend.h.
#include "kernels/cuda/attend.h"

#include "base/check.h"

namespace ebb::kernels::cuda {

void attend(CudaContext&, const KvShape&, std::span<const AttendArgs>) {
  EBB_CHECK(false);
}

void merge_states(CudaContext&, float*, float*, const float*, const float*, uint32_t, uint32_t, uint32_t) {
  EBB_CHECK(false);
}

void attend_left_out(CudaContext&, const KvShape&, std::span<const LeftOutArgs>) {
  EBB_CHECK(false);
}


}  // namespace ebb::kernels::cuda
