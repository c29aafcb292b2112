// How many blocks and threads a kernel is started with: pure functions of the work and the device,
// so that they are tested where there is none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ebb::kernels::cuda {

struct FlatShape {
  uint32_t blocks = 1;
  uint32_t threads = 256;
};

/// For kernels with one thread to an element and a grid that strides: never more blocks than fill
/// the device eight times over, never none.
FlatShape flat_shape(uint64_t elements, uint32_t multiprocessors);

/// Blocks that CUDA takes in y and z.
constexpr unsigned kGridMax = 65535;

/// Items that have a y of the grid each, in as many launches as it takes: launch(first, count).
template <class Launch>
void for_grids(size_t items, Launch launch) {
  for (size_t first = 0; first < items; first += kGridMax) {
    const size_t left = items - first;
    launch(static_cast<unsigned>(first), static_cast<unsigned>(left < kGridMax ? left : kGridMax));
  }
}

}  // namespace ebb::kernels::cuda
