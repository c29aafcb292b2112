// See rows.h. A row is copied by neighbouring threads, sixteen bytes each where its size and its
// ends allow it (else four, two or one): one thread to a piece, a grid that strides over what is
// more.
#include "kernels/cuda/rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/launch_shapes.h"

namespace ebb::kernels::cuda {
namespace {

struct NewRow {
  const float* k;
  const float* v;
  std::byte* to;
};

struct AppendKernelArgs {
  const NewRow* rows;
  uint64_t count;  ///< elements: rows * heads * 2 * head_size
  uint32_t head_size;
  uint32_t row_elements;
  KvElement element;
};

/// Nearest even. The NaN that the device's own rounding makes is always the same; here its payload
/// stays as far as it fits, so that what is stored is what the other backends store.
__device__ __forceinline__ unsigned short stored_bf16(float x) {
  if (x == x) return to_bf16_bits(x);
  return static_cast<unsigned short>(__float_as_uint(x) >> 16 | 0x40u);
}

/// One thread to an element of K or V.
__global__ void append_kernel(AppendKernelArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const NewRow row = a.rows[i / a.row_elements];
    const auto element = static_cast<uint32_t>(i % a.row_elements);
    const uint32_t vector = element / a.head_size, j = element % a.head_size;
    const float* from = vector % 2 == 0 ? row.k : row.v;
    const float value = from[vector / 2 * a.head_size + j];
    if (a.element == KvElement::kF32) {
      reinterpret_cast<float*>(row.to)[element] = value;
    } else {
      reinterpret_cast<unsigned short*>(row.to)[element] = stored_bf16(value);
    }
  }
}

/// Rows between the arena and memory in which row i begins at other + i * stride, or between two
/// places in the arena (other null).
struct MoveArgs {
  RowMap map;
  const uint32_t* d_slots;
  const uint32_t* d_from;  ///< slots; only within the arena
  std::byte* other;
  uint64_t stride;
  uint64_t count;  ///< pieces: rows * pieces of a row
  uint32_t pieces;
};

enum class Move { kOut, kIn, kWithin };

template <Move How, class Piece>
__global__ void move_kernel(MoveArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const uint64_t row = i / a.pieces;
    const uint64_t piece = i % a.pieces;
    auto* in_arena = reinterpret_cast<Piece*>(a.map.row_to_write(a.d_slots[row]));
    if constexpr (How == Move::kWithin) {
      in_arena[piece] = reinterpret_cast<const Piece*>(a.map.row(a.d_from[row]))[piece];
    } else {
      auto* outside = reinterpret_cast<Piece*>(a.other + row * a.stride);
      if constexpr (How == Move::kOut) outside[piece] = in_arena[piece];
      if constexpr (How == Move::kIn) in_arena[piece] = outside[piece];
    }
  }
}

template <Move How>
void move(CudaContext& context, MoveArgs args, uint64_t rows) {
  const uint32_t row_bytes = args.map.row_bytes;
  const uint64_t ends = row_bytes | args.stride | reinterpret_cast<uintptr_t>(args.other) |
                        reinterpret_cast<uintptr_t>(args.map.arena);
  const uint32_t piece = ends % 16 == 0 ? 16 : ends % 4 == 0 ? 4 : ends % 2 == 0 ? 2 : 1;
  args.pieces = row_bytes / piece;
  args.count = rows * args.pieces;
  if (args.count == 0 || context.failed()) return;
  const FlatShape flat = flat_shape(args.count, context.multiprocessors());
  const Launch shape = context.shape(flat.blocks, flat.threads);
  if (piece == 16) launch(shape, &move_kernel<How, uint4>, args);
  if (piece == 4) launch(shape, &move_kernel<How, unsigned>, args);
  if (piece == 2) launch(shape, &move_kernel<How, unsigned short>, args);
  if (piece == 1) launch(shape, &move_kernel<How, unsigned char>, args);
  context.check_launch("moving KV rows");
}

/// Rows per piece of the staging memory: 8 MiB of them, at least one.
uint64_t staged_rows(const KvShape& shape) {
  return std::max<uint64_t>((uint64_t{8} << 20) / shape.row_bytes(), 1);
}

void check_slots(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots) {
  for (const uint32_t slot : slots) EBB_CHECK(slot / shape.block_tokens < kv.blocks.size());
}

}  // namespace

/// Where each row goes is found here: a step's few rows need no table of blocks.
void append_kv(CudaContext& context, const KvShape& shape, std::span<const AppendArgs> items) {
  std::vector<NewRow> rows;
  for (const AppendArgs& item : items) {
    check_slots(shape, item.kv, item.slots);
    for (uint64_t i = 0; i < item.slots.size(); ++i) {
      const uint32_t slot = item.slots[i];
      const uint64_t block = item.kv.blocks[slot / shape.block_tokens];
      const uint64_t row = block * shape.block_tokens + slot % shape.block_tokens;
      rows.push_back({item.d_k + i * item.k_stride, item.d_v + i * item.v_stride,
                      item.kv.d_arena + row * shape.row_bytes()});
    }
  }
  if (rows.empty() || context.failed()) return;
  AppendKernelArgs args{};
  args.rows = context.upload(rows);
  args.head_size = shape.head_size;
  args.row_elements = shape.heads_kv * 2 * shape.head_size;
  args.count = uint64_t{rows.size()} * args.row_elements;
  args.element = shape.element;
  const FlatShape flat = flat_shape(args.count, context.multiprocessors());
  launch(context.shape(flat.blocks, flat.threads), &append_kernel, args);
  context.check_launch("append_kv");
}

void gather_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
                 std::span<const uint32_t> slots, std::byte* host, uint64_t host_stride) {
  check_slots(shape, kv, slots);
  const uint64_t row_bytes = shape.row_bytes();
  for (uint64_t done = 0; done < slots.size() && !context.failed();) {
    const uint64_t rows = std::min(slots.size() - done, staged_rows(shape));
    auto* stage = static_cast<std::byte*>(context.pinned(rows * row_bytes));
    if (stage == nullptr) return;
    MoveArgs args{};
    args.map = context.row_map(shape, kv);
    args.d_slots = context.upload(slots.subspan(done, rows));
    args.other = stage;
    args.stride = row_bytes;
    move<Move::kOut>(context, args, rows);
    context.wait("gathering KV rows");
    if (context.failed()) return;
    for (uint64_t i = 0; i < rows; ++i) {
      std::memcpy(host + (done + i) * host_stride, stage + i * row_bytes, row_bytes);
    }
    done += rows;
  }
}

void scatter_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
                  std::span<const uint32_t> slots, const std::byte* host, uint64_t host_stride) {
  check_slots(shape, kv, slots);
  if (slots.empty() || context.failed()) return;
  const uint64_t row_bytes = shape.row_bytes();
  const uint64_t room_rows = std::max<uint64_t>(CudaContext::kRoomBytes / row_bytes, 1);
  MoveArgs args{};
  args.stride = row_bytes;
  for (uint64_t done = 0; done < slots.size(); done += room_rows) {
    const uint64_t rows = std::min(slots.size() - done, room_rows);
    // The kernel reads the pinned memory itself: the rows cross the bus once, and nothing waits.
    std::byte* room = context.upload_room(rows * row_bytes);
    if (room == nullptr) return;
    for (uint64_t i = 0; i < rows; ++i) {
      std::memcpy(room + i * row_bytes, host + (done + i) * host_stride, row_bytes);
    }
    args.map = context.row_map(shape, kv);
    args.d_slots = context.upload(slots.subspan(done, rows));
    args.other = room;
    move<Move::kIn>(context, args, rows);
  }
}

void copy_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
               std::span<const uint32_t> from, std::span<const uint32_t> to) {
  check_slots(shape, kv, from);
  check_slots(shape, kv, to);
  if (from.empty() || context.failed()) return;
  MoveArgs args{};
  args.map = context.row_map(shape, kv);
  args.d_from = context.upload(from);
  args.d_slots = context.upload(to);
  move<Move::kWithin>(context, args, from.size());
}

}  // namespace ebb::kernels::cuda
