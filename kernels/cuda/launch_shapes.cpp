// See launch_shapes.h.
#include "kernels/cuda/launch_shapes.h"

#include <algorithm>

namespace ebb::kernels::cuda {

FlatShape flat_shape(uint64_t elements, uint32_t multiprocessors) {
  constexpr uint32_t kThreads = 256, kBlocksEach = 8;
  const uint64_t needed = (elements + kThreads - 1) / kThreads;
  const uint64_t most = uint64_t{std::max(multiprocessors, 1u)} * kBlocksEach;
  return {static_cast<uint32_t>(std::clamp<uint64_t>(needed, 1, most)), kThreads};
}

}  // namespace ebb::kernels::cuda
