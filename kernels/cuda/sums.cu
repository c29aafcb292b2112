// See digests.h, add_sums.
#include <algorithm>

#include "kernels/cuda/digests.h"
#include "kernels/cuda/launch_shapes.h"
#include "kernels/cuda/page_map.cuh"

namespace ebb::kernels::cuda {
namespace {

struct SumsArgs {
  RowMap rows;
  const uint32_t* slots;  ///< of tokens first, first + 1, ...
  uint32_t first;
  uint32_t end;  ///< token after the last
  uint32_t head_size;
  uint32_t elements;  ///< of a run
  PageMap runs;
  uint64_t sums;  ///< elements of all runs that have tokens here
};

/// One thread to a sum: it adds its run's tokens in ascending order, so that the bits are those of
/// one token after the other, however they were cut into calls.
__global__ void add_sums_kernel(SumsArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.sums; i += step) {
    const auto element = static_cast<uint32_t>(i % a.elements);
    const uint32_t run = a.first / kSumTokens + static_cast<uint32_t>(i / a.elements);
    // A row is laid out as a run is: [heads_kv][K, V][head_size].
    const uint32_t vector = element / a.head_size, j = element % a.head_size;
    const uint32_t at = a.rows.vector_at(vector / 2, vector % 2);
    float* to = reinterpret_cast<float*>(a.runs.entry(run)) + element;
    const uint32_t begin = max(a.first, run * kSumTokens);
    const uint32_t end = min(a.end, (run + 1) * kSumTokens);
    float sum = begin % kSumTokens == 0 ? 0.0f : *to;
    for (uint32_t token = begin; token < end; ++token) {
      sum += kv_value(a.rows.row(a.slots[token - a.first]) + at, j, a.rows.element);
    }
    *to = sum;
  }
}

}  // namespace

void add_sums(CudaContext& context, const KvShape& shape, const KvRows& kv,
              std::span<const uint32_t> slots, Position first, const SumRows& sums) {
  if (slots.empty() || context.failed()) return;
  SumsArgs args{};
  args.rows = context.row_map(shape, kv);
  args.slots = context.upload(slots);
  args.first = first;
  args.end = first + static_cast<uint32_t>(slots.size());
  args.head_size = shape.head_size;
  args.elements = shape.heads_kv * 2 * shape.head_size;
  const uint32_t last_run = (args.end - 1) / kSumTokens;
  args.runs = page_map(shape, sums, context.upload(sums.blocks), SumRows::run_bytes(shape),
                       uint64_t{last_run} + 1);
  args.sums = uint64_t{last_run - first / kSumTokens + 1} * args.elements;
  if (context.failed()) return;
  const FlatShape grid = flat_shape(args.sums, context.multiprocessors());
  launch(context.shape(grid.blocks, grid.threads), &add_sums_kernel, args);
  context.check_launch("add_sums");
}

}  // namespace ebb::kernels::cuda
