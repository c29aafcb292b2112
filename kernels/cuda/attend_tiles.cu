// See attend_tiles.h. Which kernel, how many blocks, and the merge where a tile's entries were
// shared out.
#include "kernels/cuda/attend_tiles.h"

#include <cmath>

#include "kernels/cuda/attend_tiles.cuh"

namespace ebb::kernels::cuda {
namespace {

template <unsigned kColumns>
__global__ void __launch_bounds__(kTileThreads) tiles_kernel(TileArgs a) {
  EBB_DYNAMIC_SHARED(unsigned short, room);
  TileAttention<kColumns>(a, room).run();
}

template <unsigned kColumns>
void launch_tiles(CudaContext& context, const TileArgs& args) {
  const uint64_t shared = tile_shared_bytes(kColumns);
  context.check(allow_shared(&tiles_kernel<kColumns>, shared), "attend_tiles: shared memory");
  const dim3 grid(args.heads_kv * args.chunks * args.tiles);
  launch(context.shape(grid, kTileThreads, shared), &tiles_kernel<kColumns>, args);
  context.check_launch("attend_tiles");
}

void launch_tiles(CudaContext& context, uint32_t columns, const TileArgs& args) {
  switch (columns) {
    case 64:
      return launch_tiles<64>(context, args);
    case 80:
      return launch_tiles<80>(context, args);
    case 96:
      return launch_tiles<96>(context, args);
    case 128:
      return launch_tiles<128>(context, args);
    default:
      return launch_tiles<256>(context, args);
  }
}

TileArgs tile_args(CudaContext& context, const KvShape& shape, const AttendArgs& item) {
  TileArgs args;
  args.group = shape.heads_q / shape.heads_kv;
  const TileChunks cut =
      tile_chunks(item.rows, args.group, item.count, shape.heads_kv, context.multiprocessors());
  args.q = item.d_q;
  args.q_alt = item.alt_count == 0 ? nullptr : item.d_q_alt;
  args.alt_count = item.alt_count;
  args.rows = item.rows;
  args.count = item.count;
  args.window = item.window;
  args.arena = item.kv.d_arena;
  args.out = item.d_out;
  args.lse = item.d_lse;
  args.tiles = cut.tiles;
  args.chunks = cut.chunks;
  args.heads_kv = shape.heads_kv;
  args.head_size = shape.head_size;
  args.block_tokens = shape.block_tokens;
  args.row_bytes = shape.row_bytes();
  args.vector_bytes = shape.vector_bytes();
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size));
  return args;
}

/// Where a chunk's states of every row are merged to.
std::vector<MergeRow> tile_merges(const KvShape& shape, const AttendArgs& item, uint32_t chunks) {
  std::vector<MergeRow> merges;
  for (uint64_t row = 0; chunks > 1 && row < item.rows; ++row) {
    const uint64_t vector = row * shape.heads_q;
    merges.push_back({item.d_out + vector * shape.head_size,
                      item.d_lse == nullptr ? nullptr : item.d_lse + vector, vector * chunks,
                      chunks, false});
  }
  return merges;
}

}  // namespace

void attend_tiles(CudaContext& context, const KvShape& shape, const AttendArgs& item) {
  if (item.rows == 0 || context.failed()) return;
  TileArgs args = tile_args(context, shape, item);
  const std::vector<MergeRow> merges = tile_merges(shape, item, args.chunks);
  Packed packed;
  packed.add(item.kv.blocks);
  const uint64_t merges_at = packed.add(merges);
  const std::byte* upload = packed.upload(context);
  if (args.chunks > 1) {
    const uint64_t states = uint64_t{item.rows} * shape.heads_q * args.chunks;
    args.states = take_states(context, states, shape.head_size);
  }
  if (context.failed()) return;
  args.blocks = reinterpret_cast<const uint32_t*>(upload);
  launch_tiles(context, tile_kind(shape.head_size).columns, args);
  merge_chunks(context, args.states, reinterpret_cast<const MergeRow*>(upload + merges_at),
               static_cast<uint32_t>(merges.size()), shape.heads_q, shape.head_size);
}

}  // namespace ebb::kernels::cuda
