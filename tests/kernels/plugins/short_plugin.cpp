// A plugin whose struct is older: shorter than the one of this build.
#include "kernels/cuda/plugin.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1() {
  static ebb::kernels::CudaPlugin plugin;
  plugin.struct_bytes = 16;
  return &plugin;
}
