// Which way records go between their rows and their frames (records.h). Pure.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace ebb::kernels::cuda {

/// kDirect: the kernel itself reads or writes the pinned memory, and nothing else is enqueued.
/// kStaged: a copy engine carries frames to or from memory of the device, a few MiB at a time, and
/// the kernel's own accesses are local.
/// kLocal: frames lie in memory of the device, where the kernel reads or writes them: nothing
/// crosses the bus.
enum class RecordWay { kDirect, kStaged, kLocal };

/// For frames of `bytes` together, in memory of one kind. The threshold between the two ways over
/// the bus is a guess: it has not been measured (bench/gpu/records_gpu_bench.cu does, on both sides
/// of it).
RecordWay record_way(uint64_t bytes, MemoryKind frames_in);

}  // namespace ebb::kernels::cuda
