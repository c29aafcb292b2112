// See rows.h. A row is copied by neighbouring threads, sixteen bytes each where its size and its
// place allow it (else four): one thread to a piece, a grid that strides over what is more.
#include "kernels/cuda/rows.h"

#include <algorithm>
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

/// Rows within the arena.
struct CopyArgs {
  RowMap map;
  const uint32_t* d_to;  ///< slots
  const uint32_t* d_from;
  uint64_t count;  ///< pieces: rows * pieces of a row
  uint32_t pieces;
};

template <class Piece>
__global__ void copy_kernel(CopyArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const uint64_t row = i / a.pieces;
    const uint64_t piece = i % a.pieces;
    auto* to = reinterpret_cast<Piece*>(a.map.row_to_write(a.d_to[row]));
    to[piece] = reinterpret_cast<const Piece*>(a.map.row(a.d_from[row]))[piece];
  }
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

void copy_rows(CudaContext& context, const KvShape& shape, const KvRows& kv,
               std::span<const uint32_t> from, std::span<const uint32_t> to) {
  check_slots(shape, kv, from);
  check_slots(shape, kv, to);
  if (from.empty() || context.failed()) return;
  CopyArgs args{};
  args.map = context.row_map(shape, kv);
  args.d_from = context.upload(from);
  args.d_to = context.upload(to);
  const uint64_t ends = args.map.row_bytes | reinterpret_cast<uintptr_t>(args.map.arena);
  const uint32_t piece = ends % 16 == 0 ? 16 : 4;  // rows are multiples of eight bytes
  args.pieces = args.map.row_bytes / piece;
  args.count = from.size() * args.pieces;
  if (context.failed()) return;
  const FlatShape flat = flat_shape(args.count, context.multiprocessors());
  const Launch to_launch = context.shape(flat.blocks, flat.threads);
  if (piece == 16) launch(to_launch, &copy_kernel<uint4>, args);
  if (piece == 4) launch(to_launch, &copy_kernel<unsigned>, args);
  context.check_launch("moving KV rows");
}

}  // namespace ebb::kernels::cuda
