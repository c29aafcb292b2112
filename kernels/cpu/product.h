// The one door to oneDNN's matrix product.
#pragma once

#include <cstdint>

namespace ebb::kernels::cpu {

enum class Transposed { kNo, kYes };

struct ProductShape {
  uint64_t m, n, k;
  uint64_t lda, ldb,
      ldc;  ///< floats between rows of A [m, k], B ([k, n], or [n, k] when transposed), C [m, n]
};

/// C = A B + beta C in f32, on the calling thread alone: the callers split their work themselves.
/// Any thread.
void product(const ProductShape& shape, const float* a, const float* b, Transposed transposed_b,
             float beta, float* c);

}  // namespace ebb::kernels::cpu
