#include "kernels/cuda/record_shapes.h"

namespace ebb::kernels::cuda {
namespace {

/// A copy costs the device some microseconds to start, in which a kernel has moved this much.
constexpr uint64_t kDirectMax = 1 << 20;

}  // namespace

RecordWay record_way(uint64_t bytes, MemoryKind frames_in) {
  if (frames_in == MemoryKind::kDevice) return RecordWay::kLocal;
  return bytes <= kDirectMax ? RecordWay::kDirect : RecordWay::kStaged;
}

}  // namespace ebb::kernels::cuda
