// How many blocks and threads a kernel is started with: pure functions of the work and the device,
// so that they are tested where there is none.
#pragma once

#include <cstdint>

namespace ebb::kernels::cuda {

struct FlatShape {
  uint32_t blocks = 1;
  uint32_t threads = 256;
};

/// For kernels with one thread to an element and a grid that strides: never more blocks than fill
/// the device eight times over, never none.
FlatShape flat_shape(uint64_t elements, uint32_t multiprocessors);

}  // namespace ebb::kernels::cuda
