// Products of a bf16 weight with more rows than the kernel for few rows takes and fewer than fill a
// matrix product: on tensor cores, reading the weight once, and as exact as f32.
#pragma once

#include "kernels/cuda/matmul_few.h"

namespace ebb::kernels::cuda {

/// Rows that one pass takes.
constexpr uint32_t kTensorRows = 32;

/// Whether `product` (of any number of rows) is one for multiply_tensor: bf16, whole runs of 64
/// columns.
bool fits_tensor(const FewProduct& product);

/// Up to kTensorRows rows. The bits of a row do not depend on the others. Enqueues.
void multiply_tensor(CudaContext& context, const FewProduct& product);

}  // namespace ebb::kernels::cuda
