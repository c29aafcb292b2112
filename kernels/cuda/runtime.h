// CUDA for the files of this folder, and the one way they start kernels. Built by nvcc it is CUDA's
// own headers; with EBB_CUDA_EMULATED (tests on machines without a GPU) it is emulation/. No other
// file here asks which.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef EBB_CUDA_EMULATED
#include "kernels/cuda/emulation/cuda_emulation.h"
/// Shared memory of the size that the launch names: `name` is a T*, aligned to 16 bytes.
#define EBB_DYNAMIC_SHARED(T, name) \
  T* const name = reinterpret_cast<T*>(::ebb::emulation::dynamic_shared())
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define EBB_DYNAMIC_SHARED(T, name)                                 \
  extern __shared__ __align__(128) unsigned char ebb_shared_bytes[]; \
  T* const name = reinterpret_cast<T*>(ebb_shared_bytes)
#endif

namespace ebb::kernels::cuda {

struct Launch {
  dim3 grid;
  unsigned threads = 0;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

/// Enqueues `kernel`; errors are found by cudaGetLastError (CudaContext::check_launch). More than
/// 48 KiB of shared memory must have been allowed before (allow_shared).
template <class... P, class... A>
void launch(const Launch& l, void (*kernel)(P...), A... arguments) {
#ifdef EBB_CUDA_EMULATED
  ebb::emulation::run(l.grid, l.threads, l.shared_bytes, l.stream,
                      [=] { kernel(static_cast<P>(arguments)...); });
#else
  kernel<<<l.grid, l.threads, l.shared_bytes, l.stream>>>(static_cast<P>(arguments)...);
#endif
}

/// Once per kernel and device, before a launch with more than 48 KiB of shared memory.
template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

}  // namespace ebb::kernels::cuda
