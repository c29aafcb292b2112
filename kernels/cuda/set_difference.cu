// See set_difference.h. A split is a prefix sum over "has a slot": each entry knows how many before
// it went to either side. A union marks a bitmap and reads it back in order. Both are one block to
// a set: lists are some thousands long, and there are as many sets as sequences times bands.
#include "kernels/cuda/set_difference.h"

#include "base/check.h"
#include "kernels/cuda/block_scan.cuh"
#include "kernels/cuda/selection_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 512;
constexpr uint32_t kWordBits = 32;

__global__ void split_kernel(const ResidencySplit* splits) {
  __shared__ uint32_t room[kWarp];
  const ResidencySplit s = splits[blockIdx.x];
  const uint32_t count = *s.list.d_count;
  uint32_t slots = 0, missing = 0;
  for (uint32_t first = 0; first < count; first += kThreads) {
    const uint32_t i = first + threadIdx.x;
    const uint32_t position = i < count ? s.list.d_positions[i] : 0;
    const uint32_t slot = i < count && position < s.map_length ? s.d_map[position] : kNotResident;
    const bool has_slot = slot != kNotResident;
    const ScannedFlags in_tile = block_scan_flags(has_slot, i < count && !has_slot, room);
    if (has_slot) {
      s.d_slots[slots + in_tile.first_before] = slot;
    } else if (i < count) {
      s.d_missing[missing + in_tile.second_before] = position;
    }
    slots += in_tile.first_total;
    missing += in_tile.second_total;
  }
  if (threadIdx.x == 0) {
    *s.d_slots_count = slots;
    *s.d_missing_count = missing;
  }
}

/// Block (x, y): a share of every list of union y. Bits of a word come from several threads.
__global__ void mark_kernel(const ListUnion* unions, uint32_t* bitmaps, uint32_t words) {
  const ListUnion u = unions[blockIdx.y];
  uint32_t* bitmap = bitmaps + uint64_t{blockIdx.y} * words;
  for (uint32_t l = 0; l < u.lists; ++l) {
    const PositionList list = u.d_lists[l];
    const uint32_t count = *list.d_count;
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count;
         i += gridDim.x * blockDim.x) {
      const uint32_t position = list.d_positions[i];
      atomicOr(&bitmap[position / kWordBits], 1u << position % kWordBits);
    }
  }
}

__global__ void read_marks_kernel(const ListUnion* unions, const uint32_t* bitmaps,
                                  uint32_t words) {
  __shared__ uint32_t room[kWarp];
  const ListUnion u = unions[blockIdx.x];
  const uint32_t* bitmap = bitmaps + uint64_t{blockIdx.x} * words;
  uint32_t total = 0;
  for (uint32_t first = 0; first < words; first += kThreads) {
    const uint32_t w = first + threadIdx.x;
    uint32_t bits = w < words ? bitmap[w] : 0;
    const Scanned in_tile = block_scan(static_cast<uint32_t>(__popc(bits)), room);
    uint32_t* out = u.d_out + total + in_tile.before;
    for (; bits != 0; bits &= bits - 1) {
      *out++ = w * kWordBits + static_cast<uint32_t>(__ffs(static_cast<int>(bits))) - 1;
    }
    total += in_tile.total;
  }
  if (threadIdx.x == 0) *u.d_out_count = total;
}

}  // namespace

void split_by_residency(CudaContext& context, const ResidencySplit* d_splits, uint32_t splits) {
  if (splits == 0 || context.failed()) return;
  launch(context.shape(splits, kThreads), &split_kernel, d_splits);
  context.check_launch("split_by_residency");
}

void unite_lists(CudaContext& context, const ListUnions& unions) {
  EBB_CHECK(unions.unions <= 65535);
  if (unions.unions == 0 || context.failed()) return;
  const auto words =
      static_cast<uint32_t>((uint64_t{unions.positions_end} + kWordBits - 1) / kWordBits);
  const uint64_t all_words = uint64_t{words} * unions.unions;
  auto* bitmaps = context.scratch_of<uint32_t>(CudaContext::kSelection, all_words);
  if (bitmaps == nullptr) return;
  context.clear(bitmaps, all_words * sizeof(uint32_t));
  const RowsShape shape = rows_shape(unions.unions, unions.entries_max, context.multiprocessors());
  launch(context.shape(dim3(shape.blocks, unions.unions), shape.threads), &mark_kernel,
         unions.d_unions, bitmaps, words);
  launch(context.shape(unions.unions, kThreads), &read_marks_kernel, unions.d_unions,
         static_cast<const uint32_t*>(bitmaps), words);
  context.check_launch("unite_lists");
}

}  // namespace ebb::kernels::cuda
