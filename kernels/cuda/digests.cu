// See digests.h.
#include "kernels/cuda/digests.h"

#include "base/check.h"

namespace ebb::kernels::cuda {

void mean_key(CudaContext&, const KvShape&, const KvRows&, std::span<const uint32_t>, float*) {
  EBB_CHECK(false);
}

void write_digest(CudaContext&, const KvShape&, const KvRows&, const DigestWrite&) {
  EBB_CHECK(false);
}

void add_sums(CudaContext&, const KvShape&, const KvRows&, std::span<const uint32_t>, Position, const SumRows&) {
  EBB_CHECK(false);
}

void scan_digests(CudaContext&, const KvShape&, const DigestShape&, std::span<const ScanArgs>) {
  EBB_CHECK(false);
}


}  // namespace ebb::kernels::cuda
