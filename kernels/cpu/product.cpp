// See product.h.
#include "kernels/cpu/product.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/check.h"

namespace ebb::kernels::cpu {

void product(const ProductShape& shape, const float* a, const float* b, Transposed transposed_b,
             float beta, float* c) {
  // oneDNN would start a team of its own. The setting belongs to the calling thread; a call costs a
  // store.
  omp_set_num_threads(1);
  const auto size = [](uint64_t value) { return static_cast<dnnl_dim_t>(value); };
  const dnnl_status_t status = dnnl_sgemm(
      'N', transposed_b == Transposed::kYes ? 'T' : 'N', size(shape.m), size(shape.n),
      size(shape.k), 1.0f, a, size(shape.lda), b, size(shape.ldb), beta, c, size(shape.ldc));
  EBB_CHECK(status == dnnl_success);
}

}  // namespace ebb::kernels::cpu
