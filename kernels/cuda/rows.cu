// See rows.h.
#include "kernels/cuda/rows.h"

#include "base/check.h"

namespace ebb::kernels::cuda {

void append_kv(CudaContext&, const KvShape&, const KvRows&, const NewRows&, std::span<const uint32_t>) {
  EBB_CHECK(false);
}

void gather_rows(CudaContext&, const KvShape&, const KvRows&, std::span<const uint32_t>, std::byte*, uint64_t) {
  EBB_CHECK(false);
}

void scatter_rows(CudaContext&, const KvShape&, const KvRows&, std::span<const uint32_t>, const std::byte*, uint64_t) {
  EBB_CHECK(false);
}

void copy_rows(CudaContext&, const KvShape&, const KvRows&, std::span<const uint32_t>, std::span<const uint32_t>) {
  EBB_CHECK(false);
}


}  // namespace ebb::kernels::cuda
