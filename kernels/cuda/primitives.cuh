// What kernels are put together from: sums and maxima over a warp and a block, bfloat16 in vectors,
// the address of a KV row. Every function here is called by all threads it speaks of.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/kv_element.h"

namespace ebb::kernels::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
/// exp of it is 0, and it never makes a NaN in a difference of maxima, as -inf would.
constexpr float kVeryLow = -3.0e38f;

__device__ __forceinline__ unsigned lane_id() { return threadIdx.x % kWarp; }
__device__ __forceinline__ unsigned warp_id() { return threadIdx.x / kWarp; }

/// Sum over `width` neighbouring lanes (a power of two), in every one of them: the same bits.
template <class T>
__device__ __forceinline__ T warp_sum(T x, unsigned width = kWarp) {
  for (unsigned step = width / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

template <class T>
__device__ __forceinline__ T warp_max(T x, unsigned width = kWarp) {
  for (unsigned step = width / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, x, step);
    x = other > x ? other : x;
  }
  return x;
}

/// Over all threads of a block of whole warps, at most 1024; the same bits in every thread. `room`
/// [32] is shared memory that nobody else uses until the next barrier.
template <class T>
__device__ __forceinline__ T block_sum(T x, T* room) {
  x = warp_sum(x);
  __syncthreads();  // an earlier use of the room is over
  if (lane_id() == 0) room[warp_id()] = x;
  __syncthreads();
  const unsigned warps = (blockDim.x + kWarp - 1) / kWarp;
  return warp_sum(lane_id() < warps ? room[lane_id()] : T(0));
}

template <class T>
__device__ __forceinline__ T block_max(T x, T* room) {
  x = warp_max(x);
  __syncthreads();
  if (lane_id() == 0) room[warp_id()] = x;
  __syncthreads();
  const unsigned warps = (blockDim.x + kWarp - 1) / kWarp;
  return warp_max(room[lane_id() < warps ? lane_id() : 0]);
}

__device__ __forceinline__ float bf16_low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(unsigned pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

/// Nearest even; NaN stays one.
__device__ __forceinline__ unsigned short to_bf16_bits(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

/// Where KV rows lie, as KvShape and KvRows say, by value: passed to kernels.
struct RowMap {
  std::byte* arena = nullptr;
  const uint32_t* blocks = nullptr;  ///< device memory
  uint32_t block_tokens = 1;
  uint32_t row_bytes = 0;
  uint32_t vector_bytes = 0;  ///< of K or V of one head
  KvElement element = KvElement::kBF16;

  __device__ __forceinline__ const std::byte* row(uint32_t slot) const {
    const uint64_t block = blocks[slot / block_tokens];
    return arena + (block * block_tokens + slot % block_tokens) * row_bytes;
  }
  __device__ __forceinline__ std::byte* row_to_write(uint32_t slot) const {
    return const_cast<std::byte*>(row(slot));
  }
  /// Where K (part 0) or V (part 1) of a KV head begins in a row.
  __device__ __forceinline__ uint32_t vector_at(uint32_t head, uint32_t part) const {
    return (head * 2 + part) * vector_bytes;
  }
};

/// Element j of a K or V vector that begins at `from`.
__device__ __forceinline__ float kv_value(const std::byte* from, uint32_t j, KvElement element) {
  if (element == KvElement::kF32) return reinterpret_cast<const float*>(from)[j];
  return __uint_as_float(static_cast<unsigned>(reinterpret_cast<const unsigned short*>(from)[j])
                         << 16);
}

}  // namespace ebb::kernels::cuda
