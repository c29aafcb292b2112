// See attend_shapes.h.
#include "kernels/cuda/attend_shapes.h"

#include <algorithm>

namespace ebb::kernels::cuda {
namespace {

/// Below this a block's fixed cost (its queries, its merge, its state) shows.
constexpr uint32_t kChunkEntriesMin = kDecodeWarps * kGroupEntries;
/// Blocks of one sequence that each multiprocessor should have: enough loads in flight for batch 1.
constexpr uint32_t kBlocksEach = 4;
/// The merge reads every state once more.
constexpr uint32_t kChunksMax = 128;

/// Query rows from which tiles beat rows one by one.
constexpr uint32_t kTileRowsMin = 5;
/// Tiles a multiprocessor should have at least, and entries that are worth a block of their own.
constexpr uint32_t kTilesEach = 2;
constexpr uint32_t kTileChunkEntriesMin = 512;

uint32_t parts(uint64_t whole, uint64_t part) {
  return static_cast<uint32_t>((whole + part - 1) / part);
}

}  // namespace

Chunks decode_chunks(uint32_t entries, uint32_t heads_kv, uint32_t multiprocessors) {
  const uint64_t blocks = uint64_t{std::max(multiprocessors, 1u)} * kBlocksEach;
  const uint64_t wanted = std::clamp<uint64_t>(blocks / std::max(heads_kv, 1u), 1, kChunksMax);
  const uint32_t steps = std::max(parts(parts(entries, wanted), kChunkEntriesMin), 1u);
  constexpr uint64_t kMost = 0u - kChunkEntriesMin;
  const auto each = static_cast<uint32_t>(std::min(uint64_t{steps} * kChunkEntriesMin, kMost));
  return {each, std::max(parts(entries, each), 1u)};
}

DecodeKind decode_kind(uint32_t head_size, uint32_t heads_together, KvElement element) {
  DecodeKind kind;
  kind.lanes = head_size <= 64 ? 8 : head_size <= 128 ? 16 : 32;
  kind.whole = element == KvElement::kBF16 && head_size % kSliceElements == 0;
  kind.heads = heads_together <= 2 ? std::max(heads_together, 1u) : heads_together <= 4 ? 4 : 8;
  if (!kind.whole) kind.heads = 4;  // rare: one kernel is enough
  return kind;
}

uint64_t decode_shared_bytes(const DecodeKind& kind, uint32_t head_size) {
  return uint64_t{kDecodeWarps} * kind.heads * (head_size + 2) * sizeof(float);
}

uint64_t state_bytes(uint32_t heads_q, uint32_t chunks, uint32_t head_size) {
  return uint64_t{heads_q} * chunks * (head_size + 2) * sizeof(float);
}

TileKind tile_kind(uint32_t head_size) {
  for (const uint32_t columns : {64u, 80u, 96u, 128u}) {
    if (head_size <= columns) return {columns, tile_entries(columns)};
  }
  return {256, tile_entries(256)};
}

bool takes_tiles(uint32_t rows, bool bf16) { return bf16 && rows >= kTileRowsMin; }

TileChunks tile_chunks(uint32_t rows, uint32_t group, uint32_t count, uint32_t heads_kv,
                       uint32_t multiprocessors) {
  TileChunks shape;
  shape.tiles = std::max(parts(uint64_t{rows} * group, kTileVectors), 1u);
  const uint64_t wanted = uint64_t{std::max(multiprocessors, 1u)} * kTilesEach;
  const uint32_t spread = parts(wanted, uint64_t{shape.tiles} * std::max(heads_kv, 1u));
  shape.chunks = std::clamp(std::min(spread, count / kTileChunkEntriesMin), 1u, kChunksMax);
  return shape;
}

}  // namespace ebb::kernels::cuda
