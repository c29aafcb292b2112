// See selection_shapes.h.
#include "kernels/cuda/selection_shapes.h"

#include <algorithm>
#include <bit>

namespace ebb::kernels::cuda {

RowsShape rows_shape(uint32_t rows, uint32_t length, uint32_t multiprocessors) {
  constexpr uint32_t kThreads = 256, kEach = 8, kBlocksEach = 4;
  const uint64_t needed = (uint64_t{length} + kThreads * kEach - 1) / (kThreads * kEach);
  const uint64_t device = uint64_t{std::max(multiprocessors, 1u)} * kBlocksEach;
  const uint64_t fair = std::max<uint64_t>(device / std::max(rows, 1u), 1);
  const uint64_t blocks = std::min<uint64_t>({needed, fair, kRowBlocksMax});
  return {static_cast<uint32_t>(std::max<uint64_t>(blocks, 1)), kThreads};
}

uint32_t rank_blocks(uint32_t k) {
  return static_cast<uint32_t>((uint64_t{std::max(k, 1u)} + kRankEach - 1) / kRankEach);
}

ScanShape scan_shape(const ScanWork& work) {
  constexpr uint32_t kLanes = 32;
  const uint32_t group = std::max(work.group, 1u), heads_kv = std::max(work.heads_kv, 1u);
  ScanShape shape;
  shape.lanes = std::min(std::bit_ceil(std::max(work.units, 1u)), kLanes);
  shape.queries = std::min(std::bit_ceil(std::min(group, kLanes)), work.queries_max);
  const uint32_t records = kLanes / shape.lanes;
  shape.heads = std::min({heads_kv, records, kLanes / shape.queries});
  shape.tokens = records / shape.heads;
  shape.head_rounds = (heads_kv + shape.heads - 1) / shape.heads;
  shape.query_rounds = (group + shape.queries - 1) / shape.queries;
  return shape;
}

uint32_t scan_blocks(uint32_t count) {
  return static_cast<uint32_t>(
      std::max<uint64_t>((uint64_t{count} + kScanTokens - 1) / kScanTokens, 1));
}

}  // namespace ebb::kernels::cuda
