// How attention is cut up: pure functions of the call and the device, tested without one.
//
// Decode: a block attends to one chunk of the entries of one row, for some query heads of one KV
// head. Chunks are part of the numerics: they depend on how many entries a row sees, on the model
// and on the device, never on what else is in the call, so a sequence's bits do not depend on its
// company.
#pragma once

#include <cstdint>

#include "kernels/kv_element.h"

namespace ebb::kernels::cuda {

/// Entries that a warp takes at a time: one a lane.
constexpr uint32_t kGroupEntries = 32;
constexpr uint32_t kDecodeWarps = 4;
/// Elements of a K or V vector that one lane holds: 16 bytes of bf16.
constexpr uint32_t kSliceElements = 8;

/// Where row `row` of block `block` begins in the arena, in bytes.
constexpr uint64_t row_offset(uint32_t block, uint32_t row, uint32_t block_tokens,
                              uint32_t row_bytes) {
  return (uint64_t{block} * block_tokens + row) * row_bytes;
}

/// Entries [begin, end) that row `row` of `rows` consecutive ones sees, the last of them standing
/// at slot count - 1 (AttendArgs).
struct RowEntries {
  uint32_t begin = 0;
  uint32_t end = 0;
  constexpr uint32_t count() const { return end - begin; }
};
constexpr RowEntries row_entries(uint32_t count, uint32_t rows, uint32_t row, uint32_t window) {
  const int64_t bound = int64_t{count} - rows + 1 + row;
  const uint32_t end = bound > 0 ? static_cast<uint32_t>(bound) : 0;
  return {window > 0 && window < end ? end - window : 0, end};
}

struct Chunks {
  uint32_t entries = 0;  ///< of each but the last
  uint32_t count = 1;    ///< at least 1, with nothing in it where a row sees nothing
};

/// Chunks of one row of decode attention over `entries`.
Chunks decode_chunks(uint32_t entries, uint32_t heads_kv, uint32_t multiprocessors);

/// What a decode kernel is made for.
struct DecodeKind {
  uint32_t lanes = 8;  ///< that share a vector: 8, 16 or 32
  uint32_t heads = 1;  ///< query heads of a block: 1, 2, 4 or 8
  bool whole = true;   ///< vectors are made of whole slices: 16-byte loads
  bool operator==(const DecodeKind&) const = default;
};

/// `heads_together`: query heads that share K, V and list; `element` is that of the rows.
DecodeKind decode_kind(uint32_t head_size, uint32_t heads_together, KvElement element);

/// Bytes of shared memory of a decode block.
uint64_t decode_shared_bytes(const DecodeKind& kind, uint32_t head_size);

/// Bytes of partial states (of one launch) that scratch memory is asked for at most, as long as one
/// row alone needs less.
constexpr uint64_t kStateBytesMax = uint64_t{256} << 20;

/// One row's partial states, in bytes: head_size + 2 floats for each head and chunk.
uint64_t state_bytes(uint32_t heads_q, uint32_t chunks, uint32_t head_size);

/// Bulk: a block attends to one chunk of entries for a tile of query vectors of one KV head. A
/// vector is a row's query head; the heads of a group and then the rows follow each other, so that
/// few rows fill a tile too.
constexpr uint32_t kTileVectors = 64;

struct TileKind {
  uint32_t columns = 64;  ///< a head's elements and zeros after them: 64, 80, 96, 128 or 256
  uint32_t entries = 64;  ///< K and V vectors in shared memory at a time
};
constexpr uint32_t tile_entries(uint32_t columns) { return columns <= 128 ? 64 : 32; }
TileKind tile_kind(uint32_t head_size);
/// Of a block: queries in two parts, K and V twice, rows 16 bytes longer than they need to be.
constexpr uint64_t tile_shared_bytes(uint32_t columns) {
  return (uint64_t{2} * kTileVectors + 4 * tile_entries(columns)) * (columns + 8) * 2;
}

/// Whether rows of one item are worth a tile rather than one by one.
bool takes_tiles(uint32_t rows, bool bf16);

struct TileChunks {
  uint32_t tiles = 1;
  uint32_t chunks = 1;  ///< of every tile's entries; more than 1 where there are few tiles
};
TileChunks tile_chunks(uint32_t rows, uint32_t group, uint32_t count, uint32_t heads_kv,
                       uint32_t multiprocessors);

}  // namespace ebb::kernels::cuda
