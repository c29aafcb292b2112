// Which way records cross the bus (records.h). Pure.
#pragma once

#include <cstdint>

namespace ebb::kernels::cuda {

/// kDirect: the kernel itself reads or writes the pinned memory, and nothing else is enqueued.
/// kStaged: a copy engine carries frames to or from memory of the device, a few MiB at a time, and
/// the kernel's own accesses are local.
enum class RecordWay { kDirect, kStaged };

/// For frames of `bytes` together. The threshold is a guess: it has not been measured
/// (bench/gpu/records_gpu_bench.cpp does, on both sides of it).
RecordWay record_way(uint64_t bytes);

}  // namespace ebb::kernels::cuda
