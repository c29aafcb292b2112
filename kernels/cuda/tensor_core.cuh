// Tensor cores for a warp: products of small bf16 tiles, how tiles come out of shared memory, and
// copies to shared memory that run beside them. On a GPU each is one instruction (PTX:
// mma.sync.m16n8k16, ldmatrix, cp.async); in emulation lanes show each other their registers
// between two barriers.
//
// With g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A [16, 16]: at[0] = (g, 2t..), at[1] = (g + 8, 2t..), at[2] = (g, 2t + 8..), at[3] = (g + 8, 2t
//   +
//               8..): pairs of neighbours in a row, the first in the low half
//   B [16, 8]:  at[0] = (2t.., g), at[1] = (2t + 8.., g): pairs of neighbours in a column
//   C [16, 8]:  at[0], at[1] = (g, 2t), (g, 2t + 1); at[2], at[3] = the same of row g + 8
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace ebb::kernels::cuda {

struct TileA {
  unsigned at[4];
};
struct TileB {
  unsigned at[2];
};
struct TileC {
  float at[4];
};
/// Four matrices of 8 x 8 bf16.
struct FourMatrices {
  unsigned at[4];
};

#ifdef EBB_CUDA_EMULATED

/// What each lane of the block shows to its warp.
inline const void*& shown(unsigned lane) {
  static thread_local const void* all[1024];
  return all[threadIdx.x / kWarp * kWarp + lane];
}

inline float bf16_half(unsigned pair, unsigned which) {
  return which == 0 ? bf16_low(pair) : bf16_high(pair);
}

inline unsigned bf16_pair(float low, float high) {
  return to_bf16_bits(low) | unsigned{to_bf16_bits(high)} << 16;
}

inline void multiply_add(TileC& c, const TileA& a, const TileB& b) {
  struct Mine {
    const TileA* a;
    const TileB* b;
  };
  const Mine mine{&a, &b};
  shown(lane_id()) = &mine;
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane_id() / 4, column = lane_id() % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) {
      const auto* of_row = static_cast<const Mine*>(shown(row * 4 + k % 8 / 2));
      const auto* of_column = static_cast<const Mine*>(shown(column * 4 + k % 8 / 2));
      c.at[i] += bf16_half(of_row->a->at[i / 2 + k / 8 * 2], k % 2) *
                 bf16_half(of_column->b->at[k / 8], k % 2);
    }
  }
  __syncwarp();
}

inline FourMatrices load_matrices(const void* row) {
  FourMatrices m;
  shown(lane_id()) = row;
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i) {
    m.at[i] = static_cast<const unsigned*>(shown(i * 8 + lane_id() / 4))[lane_id() % 4];
  }
  __syncwarp();
  return m;
}

inline FourMatrices load_matrices_transposed(const void* row) {
  FourMatrices m;
  shown(lane_id()) = row;
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned first = i * 8 + lane_id() % 4 * 2, column = lane_id() / 4;
    m.at[i] = static_cast<const unsigned short*>(shown(first))[column] |
              unsigned{static_cast<const unsigned short*>(shown(first + 1))[column]} << 16;
  }
  __syncwarp();
  return m;
}

inline void copy_16_async(void* shared, const void* global) { std::memcpy(shared, global, 16); }
inline void copies_end_group() {}
template <unsigned kGroups>
void copies_wait() {}

#else

/// Two numbers rounded to bf16, nearest even.
__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return __bfloat16_as_ushort(pair.x) | unsigned{__bfloat16_as_ushort(pair.y)} << 16;
}

/// c += a * b, f32 sums.
__device__ __forceinline__ void multiply_add(TileC& c, const TileA& a, const TileB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c.at[0]), "+f"(c.at[1]), "+f"(c.at[2]), "+f"(c.at[3])
      : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[0]), "r"(b.at[1]));
}

__device__ __forceinline__ unsigned shared_address(const void* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

/// Lane 8 i + r gives where row r of matrix i begins (16 bytes); it gets of matrix i the pair at
/// (lane / 4, 2 (lane % 4)).
__device__ __forceinline__ FourMatrices load_matrices(const void* row) {
  FourMatrices m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m.at[0]), "=r"(m.at[1]), "=r"(m.at[2]), "=r"(m.at[3])
               : "r"(shared_address(row))
               : "memory");
  return m;
}

/// The same of the matrices' transposes.
__device__ __forceinline__ FourMatrices load_matrices_transposed(const void* row) {
  FourMatrices m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m.at[0]), "=r"(m.at[1]), "=r"(m.at[2]), "=r"(m.at[3])
               : "r"(shared_address(row))
               : "memory");
  return m;
}

/// 16 bytes from global to shared memory, both so aligned; there once the thread has waited for its
/// group.
__device__ __forceinline__ void copy_16_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(shared_address(shared)),
               "l"(global)
               : "memory");
}
/// This thread's copies since the last group are one.
__device__ __forceinline__ void copies_end_group() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits for all of this thread's groups but the last kGroups.
template <unsigned kGroups>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroups) : "memory");
}

#endif

}  // namespace ebb::kernels::cuda
