// CUDA's language and the part of its runtime that the kernels use, on a CPU: so that every kernel
// of kernels/cuda runs in tests on machines without a GPU. Not a backend for users: it is slow,
// and it says nothing about speed.
//
// A block is run to its end before the next; each of its threads is a fiber. Threads run in an
// order that is shuffled anew between barriers, so that a missing __syncthreads() or __syncwarp()
// shows as results that depend on EBB_EMULATION_SEED. Barriers that not all threads reach, warp
// functions whose lanes disagree and reads beyond what the launch reserved as shared memory end
// the process with a sentence. What is given to a stream is done later, in parts whose sizes depend
// on EBB_EMULATION_SEED, and at the latest when somebody waits for it: a missing wait shows as a
// result that depends on the seed. A stream that is captured keeps its launches for its graph.
//
// Of the language it knows: __global__, __device__, __shared__ (static), launches through
// kernels/cuda/runtime.h, warp functions over a mask, atomics, float2/float4/uint4, half and
// bfloat16 conversions. Shared arrays of unknown size: EBB_DYNAMIC_SHARED of runtime.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __constant__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1)  // NOLINT: implicit, as CUDA's
      : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace ebb::emulation {

/// What a thread of the kernel that runs now is told about itself.
struct Lane {
  uint3 thread;
  uint3 block;
  dim3 block_size;
  dim3 grid_size;
};
const Lane& lane();

void sync_threads();
/// Waits until every lane of `mask` is here.
void sync_warp(unsigned mask);
/// Each lane of `mask` gives 8 bytes and gets those of lane `source` (of its warp).
uint64_t exchange(unsigned mask, uint64_t mine, unsigned source);
/// Bit i: lane i of `mask` is here with a value that is not 0.
unsigned ballot(unsigned mask, int value);
std::byte* dynamic_shared();

void run(dim3 grid, unsigned threads, size_t shared_bytes, void* stream,
         std::function<void()> thread);

/// The next `calls` calls of the runtime function of this name pass; the one after fails with
/// `error`. A device that is lost fails every call from then on (as after an Xid); "lost" counts
/// launches. For tests; for those that start processes,
/// EBB_EMULATION_FAIL="cudaMalloc:3:2,lost:500:719" and
/// EBB_EMULATION_MACHINE="driver=12020,devices=1,memory=1000000" (environment.h).
void fail_call(const std::string& function, unsigned calls, int error);
void lose_device(int error);
/// Everything works again; allocations stay.
void heal();
/// How late streams do their work, from now on.
void shuffle_streams(uint64_t seed);
/// What the emulated machine has: devices (0: none), bytes of memory, version of the driver
/// (0: none), compute capability (90: 9.0).
struct Machine {
  int devices = 1;
  size_t memory = size_t{8} << 30;
  int driver_version = 13000;
  int capability = 90;
};
void set_machine(const Machine& machine);
/// Launches since the process began, graphs' included; finishes those of this thread first.
uint64_t launches();
/// What the host has asked the runtime for since the process began.
struct Calls {
  uint64_t kernels = 0;  ///< started one by one
  uint64_t graphs = 0;
  uint64_t copies = 0;         ///< to the device
  uint64_t nodes = 0;          ///< of graphs, that were given other arguments
  uint64_t fetched_bytes = 0;  ///< to the host
};
Calls calls();

template <class T>
T shuffle(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline unsigned lane_number() {
  const Lane& l = lane();
  return (l.thread.x + l.block_size.x * (l.thread.y + l.block_size.y * l.thread.z)) % 32;
}

}  // namespace ebb::emulation

#define threadIdx (::ebb::emulation::lane().thread)
#define blockIdx (::ebb::emulation::lane().block)
#define blockDim (::ebb::emulation::lane().block_size)
#define gridDim (::ebb::emulation::lane().grid_size)
constexpr int warpSize = 32;

inline void __syncthreads() { ebb::emulation::sync_threads(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { ebb::emulation::sync_warp(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// A segment of `width` lanes stands for the warp, as in CUDA.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned me = ebb::emulation::lane_number();
  const auto w = static_cast<unsigned>(width);
  return ebb::emulation::shuffle(mask, value, me / w * w + static_cast<unsigned>(source) % w);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const unsigned me = ebb::emulation::lane_number();
  const unsigned other = me ^ static_cast<unsigned>(bits);
  const auto w = static_cast<unsigned>(width);
  return ebb::emulation::shuffle(mask, value, other / w == me / w ? other : me);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const unsigned me = ebb::emulation::lane_number();
  const auto w = static_cast<unsigned>(width);
  return ebb::emulation::shuffle(mask, value, me % w + by < w ? me + by : me);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const unsigned me = ebb::emulation::lane_number();
  const auto w = static_cast<unsigned>(width);
  return ebb::emulation::shuffle(mask, value, me % w >= by ? me - by : me);
}
inline unsigned __ballot_sync(unsigned mask, int value) {
  return ebb::emulation::ballot(mask, value);
}
inline int __any_sync(unsigned mask, int value) { return ebb::emulation::ballot(mask, value) != 0; }
inline int __all_sync(unsigned mask, int value) {
  return ebb::emulation::ballot(mask, value) == mask;
}
inline unsigned __activemask() { return 0xffffffffu; }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((uint64_t{a} * b) >> 32);
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  }
  return c;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
using std::max;
using std::min;

// One thread of the process runs all threads of a launch: plain memory operations are atomic.
template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <class T>
T atomicMax(T* at, T value) {
  const T before = *at;
  *at = std::max(before, value);
  return before;
}
template <class T>
T atomicMin(T* at, T value) {
  const T before = *at;
  *at = std::min(before, value);
  return before;
}
template <class T>
T atomicOr(T* at, T value) {
  const T before = *at;
  *at = before | value;
  return before;
}
template <class T>
T atomicAnd(T* at, T value) {
  const T before = *at;
  *at = before & value;
  return before;
}
template <class T>
T atomicExch(T* at, T value) {
  const T before = *at;
  *at = value;
  return before;
}
template <class T>
T atomicCAS(T* at, T expected, T value) {
  const T before = *at;
  if (before == expected) *at = value;
  return before;
}

#include "kernels/cuda/emulation/cuda_numbers.h"
#include "kernels/cuda/emulation/cuda_runtime_api.h"

namespace ebb::emulation {

/// cudaGraphExecKernelNodeSetParams, for a kernel that is a function of the host.
cudaError_t set_kernel_node(cudaGraphExec_t graph, cudaGraphNode_t node, dim3 grid,
                            unsigned threads, size_t shared_bytes, std::function<void()> thread);

}  // namespace ebb::emulation
