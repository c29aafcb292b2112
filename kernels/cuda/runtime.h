// CUDA for the files of this folder, and the one way they start kernels. Built by nvcc it is CUDA's
// own headers; with EBB_CUDA_EMULATED (tests on machines without a GPU) it is emulation/. No other
// file here asks which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#ifdef EBB_CUDA_EMULATED
#include "kernels/cuda/emulation/cuda_emulation.h"
/// Shared memory of the size that the launch names: `name` is a T*, aligned to 16 bytes.
#define EBB_DYNAMIC_SHARED(T, name) \
  T* const name = reinterpret_cast<T*>(::ebb::emulation::dynamic_shared())
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define EBB_DYNAMIC_SHARED(T, name)                                  \
  extern __shared__ __align__(128) unsigned char ebb_shared_bytes[]; \
  T* const name = reinterpret_cast<T*>(ebb_shared_bytes)
#endif

namespace ebb::kernels::cuda {

class LaunchTaker;

struct Launch {
  dim3 grid;
  unsigned threads = 0;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  LaunchTaker* taker = nullptr;  ///< null: nobody but the stream
};

/// A kernel whose parameters' types are forgotten: `arguments` is a std::tuple of them.
struct Kernel {
  const void* function = nullptr;
  void (*start)(const Launch&, const void* function, const std::byte* arguments) = nullptr;
  /// Shape and arguments of a node that was recorded with this function, from the next launch of
  /// the graph on.
  cudaError_t (*set_node)(cudaGraphExec_t, cudaGraphNode_t, const Launch&, const void* function,
                          const std::byte* arguments) = nullptr;
};

/// May take launches in order to start them later (replay.h).
class LaunchTaker {
 public:
  /// Zeroed memory, aligned to 16 bytes, into which the arguments go; null: start it now.
  virtual void* take(const Launch& launch, const Kernel& kernel, size_t argument_bytes) = 0;

 protected:
  ~LaunchTaker() = default;
};

template <class... P>
void start_kernel(const Launch& l, void (*kernel)(P...), P... arguments) {
#ifdef EBB_CUDA_EMULATED
  ebb::emulation::run(l.grid, l.threads, l.shared_bytes, l.stream, [=] { kernel(arguments...); });
#else
  void* each[] = {&arguments..., nullptr};
  (void)cudaLaunchKernel(reinterpret_cast<const void*>(kernel), l.grid, dim3(l.threads), each,
                         l.shared_bytes, l.stream);  // its error stays for cudaGetLastError
#endif
}

template <class... P>
struct KernelOf {
  using Function = void (*)(P...);
  using Arguments = std::tuple<P...>;
  static_assert((std::is_trivially_copyable_v<P> && ...), "arguments are compared as bytes");
  static_assert(alignof(Arguments) <= 16);

  static Function function_of(const void* function) {
    return reinterpret_cast<Function>(const_cast<void*>(function));
  }
  template <size_t... I>
  static void start(const Launch& l, Function kernel, const Arguments& a,
                    std::index_sequence<I...>) {
    start_kernel<P...>(l, kernel, std::get<I>(a)...);
  }
  static void start(const Launch& l, const void* function, const std::byte* arguments) {
    start(l, function_of(function), *reinterpret_cast<const Arguments*>(arguments),
          std::index_sequence_for<P...>());
  }
  template <size_t... I>
  static cudaError_t set_node(cudaGraphExec_t graph, cudaGraphNode_t node, const Launch& l,
                              const void* function, const Arguments& a, std::index_sequence<I...>) {
#ifdef EBB_CUDA_EMULATED
    const Function kernel = function_of(function);
    return ebb::emulation::set_kernel_node(graph, node, l.grid, l.threads, l.shared_bytes,
                                           [=] { kernel(std::get<I>(a)...); });
#else
    void* each[] = {const_cast<void*>(static_cast<const void*>(&std::get<I>(a)))..., nullptr};
    cudaKernelNodeParams params = {};
    params.func = const_cast<void*>(function);
    params.gridDim = l.grid;
    params.blockDim = dim3(l.threads);
    params.sharedMemBytes = static_cast<unsigned>(l.shared_bytes);
    params.kernelParams = each;
    return cudaGraphExecKernelNodeSetParams(graph, node, &params);
#endif
  }
  static cudaError_t set_node(cudaGraphExec_t graph, cudaGraphNode_t node, const Launch& l,
                              const void* function, const std::byte* arguments) {
    return set_node(graph, node, l, function, *reinterpret_cast<const Arguments*>(arguments),
                    std::index_sequence_for<P...>());
  }
};

/// Enqueues `kernel`, or has it taken; errors are found by CudaContext::check_launch. More than 48
/// KiB of shared memory must have been allowed before (allow_shared).
template <class... P, class... A>
void launch(const Launch& l, void (*kernel)(P...), A... arguments) {
  if (l.taker != nullptr) {
    Kernel taken;
    taken.function = reinterpret_cast<const void*>(kernel);
    taken.start = &KernelOf<P...>::start;
    taken.set_node = &KernelOf<P...>::set_node;
    void* room = l.taker->take(l, taken, sizeof(std::tuple<P...>));
    if (room != nullptr) {
      new (room) std::tuple<P...>(static_cast<P>(arguments)...);
      return;
    }
  }
  start_kernel<P...>(l, kernel, static_cast<P>(arguments)...);
}

/// Once per kernel and device, before a launch with more than 48 KiB of shared memory.
template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

}  // namespace ebb::kernels::cuda
