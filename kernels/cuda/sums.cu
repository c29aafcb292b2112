// See digests.h, add_sums.
#include <algorithm>
#include <vector>

#include "kernels/cuda/digests.h"
#include "kernels/cuda/launch_shapes.h"
#include "kernels/cuda/page_map.cuh"

namespace ebb::kernels::cuda {
namespace {

/// Tokens of one sequence.
struct SumsItem {
  RowMap rows;
  const uint32_t* slots;  ///< of tokens first, first + 1, ...
  PageMap runs;
  uint64_t sums;  ///< elements of all runs that have tokens here
  uint32_t first;
  uint32_t end;  ///< token after the last
};

struct SumsArgs {
  const SumsItem* items;  ///< one for each y of the grid
  uint32_t head_size;
  uint32_t elements;  ///< of a run
};

/// One thread to a sum: it adds its run's tokens in ascending order, so that the bits are those of
/// one token after the other, however they were cut into calls.
__global__ void add_sums_kernel(SumsArgs a) {
  const SumsItem item = a.items[blockIdx.y];
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < item.sums; i += step) {
    const auto element = static_cast<uint32_t>(i % a.elements);
    const uint32_t run = item.first / kSumTokens + static_cast<uint32_t>(i / a.elements);
    // A row is laid out as a run is: [heads_kv][K, V][head_size].
    const uint32_t vector = element / a.head_size, j = element % a.head_size;
    const uint32_t at = item.rows.vector_at(vector / 2, vector % 2);
    float* to = reinterpret_cast<float*>(item.runs.entry(run)) + element;
    const uint32_t begin = max(item.first, run * kSumTokens);
    const uint32_t end = min(item.end, (run + 1) * kSumTokens);
    float sum = begin % kSumTokens == 0 ? 0.0f : *to;
    for (uint32_t token = begin; token < end; ++token) {
      sum += kv_value(item.rows.row(item.slots[token - item.first]) + at, j, item.rows.element);
    }
    *to = sum;
  }
}

}  // namespace

void add_sums(CudaContext& context, const KvShape& shape, std::span<const SumArgs> items) {
  SumsArgs args{};
  args.head_size = shape.head_size;
  args.elements = shape.heads_kv * 2 * shape.head_size;
  std::vector<SumsItem> all;
  uint64_t sums = 0;
  for (const SumArgs& item : items) {
    if (item.slots.empty()) continue;
    const uint32_t end = item.first + static_cast<uint32_t>(item.slots.size());
    const uint32_t last_run = (end - 1) / kSumTokens;
    all.push_back({context.row_map(shape, item.kv), context.upload(item.slots),
                   page_map(shape, item.sums, context.upload(item.sums.blocks),
                            SumRows::run_bytes(shape), uint64_t{last_run} + 1),
                   uint64_t{last_run - item.first / kSumTokens + 1} * args.elements, item.first,
                   end});
    sums = std::max(sums, all.back().sums);
  }
  if (all.empty() || context.failed()) return;
  args.items = context.upload(all);
  if (context.failed()) return;
  const FlatShape grid = flat_shape(sums, context.multiprocessors());
  for_grids(all.size(), [&](unsigned first, unsigned count) {
    SumsArgs part = args;
    part.items += first;
    launch(context.shape(dim3(grid.blocks, count), grid.threads), &add_sums_kernel, part);
  });
  context.check_launch("add_sums");
}

}  // namespace ebb::kernels::cuda
