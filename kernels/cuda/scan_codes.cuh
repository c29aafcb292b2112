// Codes of one unit of a digest (kernels/digest.h) as operands of a product of bytes: one lane
// reads a unit's words and multiplies its 32 codes, four at a time, with the query's. How the words
// lie is all that differs between the formats.
#pragma once

#include "kernels/cuda/digest_code.cuh"

namespace ebb::kernels::cuda {

/// `kUpper` words of a unit lie together; behind all units' there are `kLowest` for each.
template <DigestFormat F>
struct UnitLayout {
  static constexpr uint32_t kUpper = F == DigestFormat::kInt4 ? 4 : 2;
  static constexpr uint32_t kLowest = F == DigestFormat::kH3 ? 1 : 0;
  /// Bytes that stand for one element of the query: kInt4 is worth 16 bits, q ~ 128 a + b.
  static constexpr uint32_t kParts = F == DigestFormat::kInt4 ? 2 : 1;
};

/// Scale and zero of a record, and one unit of its codes.
template <DigestFormat F>
struct UnitWords {
  uint32_t head = 0;
  uint32_t upper[UnitLayout<F>::kUpper] = {};
  uint32_t lowest = 0;

  /// Records begin at multiples of 4 bytes, of no more.
  __device__ __forceinline__ void read(const std::byte* record, uint32_t unit, uint32_t units) {
    constexpr uint32_t kUpper = UnitLayout<F>::kUpper;
    const auto* words = reinterpret_cast<const uint32_t*>(record);
    head = __ldg(words);
#pragma unroll
    for (uint32_t w = 0; w < kUpper; ++w) upper[w] = __ldg(words + 1 + unit * kUpper + w);
    if constexpr (UnitLayout<F>::kLowest > 0) {
      lowest = __ldg(words + 1 + units * kUpper + unit);
    }
  }
  /// Codes 4 i to 4 i + 3 of the unit, a byte each.
  __device__ __forceinline__ int codes(uint32_t i) const {
    if constexpr (F == DigestFormat::kInt4) {
      return static_cast<int>(upper[i % 4] >> (i / 4 * 4) & 0x0f0f0f0fu);
    }
    const uint32_t pairs = upper[i % 2] >> (i / 2 * 2) & 0x03030303u;
    if constexpr (F == DigestFormat::kH2) return static_cast<int>(pairs);
    return static_cast<int>(pairs * 2 + (lowest >> i & 0x01010101u));
  }
  __device__ __forceinline__ float scale() const { return half_value(head & 0xffffu); }
  __device__ __forceinline__ float zero() const { return half_value(head >> 16); }
};

/// Adds over `lanes` lanes (a power of two) what each has for N values, so that each is left with
/// some of the sums: N shrinks by half with each step as long as it can. Afterwards a lane has the
/// sums first, first + 1, ... of which there are `left`; where lanes have the same, one is `owner`.
struct Kept {
  uint32_t first = 0;
  uint32_t left = 1;
  bool owner = true;
};
template <uint32_t N>
__device__ __forceinline__ Kept share_sums(int* values, uint32_t lanes) {
  if (lanes == 1) return {0, N, true};
  const uint32_t step = lanes / 2;
  const bool upper = (lane_id() & step) != 0;
  if constexpr (N == 1) {
    values[0] = warp_sum(values[0], lanes);
    return {0, 1, (lane_id() & (lanes - 1)) == 0};
  } else {
    constexpr uint32_t kHalf = N / 2;
#pragma unroll
    for (uint32_t i = 0; i < kHalf; ++i) {
      const int given = upper ? values[i] : values[i + kHalf];
      const int kept = upper ? values[i + kHalf] : values[i];
      values[i] = kept + __shfl_xor_sync(kAllLanes, given, static_cast<int>(step));
    }
    Kept rest = share_sums<kHalf>(values, step);
    rest.first += upper ? kHalf : 0;
    return rest;
  }
}

}  // namespace ebb::kernels::cuda
