// Finds libebb_cuda.so and loads it. Knows nothing of CUDA: what comes back is plain structs and
// the interfaces of ops.h and device.h.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/cuda/plugin.h"

namespace ebb::kernels {

/// Where the plugin is looked for, in order. EBB_CUDA_PLUGIN alone, where it is set; else
/// libebb_cuda.so beside the program, and in the folder lib beside the program's.
std::vector<std::string> cuda_plugin_paths();

/// The first one that is there. It stays loaded for the life of the process. Errors: kUnsupported,
/// with path and reason: no file, not a library that loads, without our symbol, of another build.
Result<const CudaPlugin*> load_cuda_plugin();
Result<const CudaPlugin*> load_cuda_plugin(const std::string& path);

}  // namespace ebb::kernels
