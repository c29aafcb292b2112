// Between the emulated runtime and the emulated blocks.
#pragma once

#include <functional>

#include "kernels/cuda/emulation/cuda_emulation.h"

namespace ebb::emulation {

/// Runs every block of the grid, one after the other, on the calling thread.
void run_grid(dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()>& body);

}  // namespace ebb::emulation
