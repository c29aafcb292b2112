// Lists of slots in device memory, from positions and a residency map that lies there: a list is
// made once for all layers that read it. Each enqueues on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// kernels/ops.h, make_lists.
void make_lists(CudaContext& context, std::span<const ListArgs> items);
/// kernels/ops.h, update_maps.
void update_maps(CudaContext& context, std::span<const MapArgs> items);

}  // namespace ebb::kernels::cuda
