// What writing and scanning digests share (kernels/digest.h): the rotation of a vector that a warp
// holds, and binary16 that is cut at its range. Bits are those of the embedded backend: digests
// travel with records, and who wrote them must not matter. So no product here may fuse with a sum.
#pragma once

#include "kernels/cuda/primitives.cuh"
#include "kernels/digest.h"

namespace ebb::kernels::cuda {

/// Head sizes are at most 256.
constexpr uint32_t kDigestUnitsMax = 8;
static_assert(kDigestUnit == kWarp, "lane i holds element i of each unit");

__device__ __forceinline__ float digest_levels(DigestFormat format) {
  return format == DigestFormat::kInt4 ? 15.0f : format == DigestFormat::kH3 ? 7.0f : 3.0f;
}

/// A vector in a warp: lane i's x[u] is element 32 u + i; 0 beyond the head's size.
struct WarpVector {
  float x[kDigestUnitsMax];
};

__device__ __forceinline__ bool has_sign(uint32_t j) {
  // Device code cannot read an array of the host's, only constants.
  constexpr uint64_t k0 = kDigestSigns[0], k1 = kDigestSigns[1];
  constexpr uint64_t k2 = kDigestSigns[2], k3 = kDigestSigns[3];
  const uint64_t signs = j / 64 == 0 ? k0 : j / 64 == 1 ? k1 : j / 64 == 2 ? k2 : k3;
  return (signs >> j % 64 & 1) != 0;
}

/// The Hadamard rotation by butterflies: steps below 32 between lanes, above between registers.
/// Sums and differences, then one product.
__device__ __forceinline__ void turn(WarpVector& v, uint32_t head_size) {
  const uint32_t run = head_size & (~head_size + 1);
  const uint32_t units = (head_size + kDigestUnit - 1) / kDigestUnit;
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    if (has_sign(u * kDigestUnit + lane_id())) v.x[u] = -v.x[u];
  }
  for (uint32_t step = 1; step < min(run, kDigestUnit); step *= 2) {
#pragma unroll
    for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
      if (u >= units) break;
      const float other = __shfl_xor_sync(kAllLanes, v.x[u], static_cast<int>(step));
      v.x[u] = (lane_id() & step) != 0 ? other - v.x[u] : v.x[u] + other;
    }
  }
#pragma unroll
  for (uint32_t step = 1; step < kDigestUnitsMax; step *= 2) {
    if (step * kDigestUnit >= run) break;
#pragma unroll
    for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
      if ((u & step) != 0 || u >= units) continue;
      const float a = v.x[u], b = v.x[u | step];
      v.x[u] = a + b;
      v.x[u | step] = a - b;
    }
  }
  const float norm = __fdiv_rn(1.0f, __fsqrt_rn(static_cast<float>(run)));
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) v.x[u] = __fmul_rn(v.x[u], norm);
}

/// Nearest even, at most 65504 in size (what is no number too).
__device__ __forceinline__ unsigned short cut_half_bits(float x) {
  const unsigned sign = __float_as_uint(x) >> 16 & 0x8000u;
  if (!(fabsf(x) < 65504.0f)) return static_cast<unsigned short>(sign | 0x7bffu);
  return __half_as_ushort(__float2half_rn(x));
}

__device__ __forceinline__ float half_value(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

}  // namespace ebb::kernels::cuda
