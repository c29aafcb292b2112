// Stands for libebb_cuda.so in the loader's tests; EBB_TEST_ABI says of which build.
#include "kernels/cuda/plugin.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1() {
  static const ebb::kernels::CudaPlugin plugin = [] {
    ebb::kernels::CudaPlugin p;
    p.abi = EBB_TEST_ABI;
    p.probe = [] {
      ebb::kernels::CudaFound found;
      found.driver = "none";
      found.why_none = "a test has no driver";
      return found;
    };
    return p;
  }();
  return &plugin;
}
