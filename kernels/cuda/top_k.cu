// See top_k.h. Three passes count the keys' upper 11, middle 11 and lower 10 bits, each among those
// whose bits above are the k-th best's; the block that is last to count finds the bucket of the
// k-th best. One pass counts what is better than it and what is equal, so that each block of the
// next knows where its survivors go: they lie in the order of their positions, however many blocks
// there are, and of equals the first are kept. Scores are read five times, 4 B each, from L2. Short
// rows go the same way within one block each, which costs less than five launches.
#include "kernels/cuda/top_k.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"
#include "kernels/cuda/block_scan.cuh"
#include "kernels/cuda/selection_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kPasses = 3;
constexpr uint32_t kBuckets = 2048;  // of the widest pass
constexpr uint32_t kThreads = 256;
constexpr uint32_t kShortThreads = 1024;
/// Above this many the host orders them: the device's work is their square.
constexpr uint32_t kRankMax = 4096;

__host__ __device__ constexpr uint32_t pass_bits(uint32_t pass) { return pass == 2 ? 10 : 11; }
__host__ __device__ constexpr uint32_t pass_shift(uint32_t pass) {
  return pass == 0 ? 21 : pass == 1 ? 10 : 0;
}

/// What the passes over one row know. All zero at first.
struct RowState {
  uint32_t histogram[kPasses][kBuckets];
  uint32_t ticket[kPasses];  ///< blocks that have counted
  uint32_t prefix;           ///< upper bits of the k-th best key; after the last pass: that key
  uint32_t remaining;        ///< how many are to be taken among the keys with this prefix
};

struct SelectArgs {
  const TopKRow* rows;
  RowState* states;     ///< [rows]
  uint2* counts;        ///< [rows, blocks]: better than the k-th best, equal to it
  uint64_t* survivors;  ///< [rows, survivors_max], in order of positions
  uint32_t survivors_max;
};

/// Higher score, greater key. Adding zero makes the two zeros one.
__device__ __forceinline__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ uint32_t wanted(const TopKRow& row) {
  return min(row.k, row.end - row.begin);
}

/// Entries [begin, end) of a row that this block of it looks at.
struct Run {
  uint32_t begin, end;
};
__device__ __forceinline__ Run run_of(const TopKRow& row) {
  const uint64_t length = row.end - row.begin;
  const auto at = [&](uint64_t block) {
    return row.begin + static_cast<uint32_t>(length * block / gridDim.x);
  };
  return {at(blockIdx.x), at(blockIdx.x + 1)};
}

/// Of the buckets from the highest down, the one in which the `remaining`th key lies: the thread
/// that finds it adds its bits to `prefix`, and writes to `left` how many are wanted within.
__device__ void find_bucket(const volatile uint32_t* histogram, uint32_t bits, uint32_t remaining,
                            uint32_t* prefix, uint32_t* left, uint32_t* room) {
  const uint32_t each = kBuckets / blockDim.x;
  const uint32_t highest = kBuckets - 1 - threadIdx.x * each;
  uint32_t own = 0;
  for (uint32_t i = 0; i < each; ++i) own += histogram[highest - i];
  uint32_t before = block_scan(own, room).before;
  if (before >= remaining || before + own < remaining) return;
  uint32_t bucket = highest;
  while (before + histogram[bucket] < remaining) before += histogram[bucket--];
  *prefix = *prefix << bits | bucket;
  *left = remaining - before;
}

/// Keys of a run whose upper bits are `prefix`, counted by the next `pass_bits`.
__device__ void count_keys(const TopKRow& row, const Run& run, uint32_t pass, uint32_t prefix,
                           uint32_t* histogram) {
  for (uint32_t i = threadIdx.x; i < kBuckets; i += blockDim.x) histogram[i] = 0;
  __syncthreads();
  const uint32_t shift = pass_shift(pass), bits = pass_bits(pass);
  for (uint32_t i = run.begin + threadIdx.x; i < run.end; i += blockDim.x) {
    const uint32_t upper = key_of(row.d_scores[i]) >> shift;
    if (pass > 0 && upper >> bits != prefix) continue;
    atomicAdd(&histogram[upper & ((1u << bits) - 1)], 1u);
  }
  __syncthreads();
}

/// Survivors of a run to their places, in order of positions. Before the run there are `better`
/// keys above the k-th best and `equal` ones like it, of which the first `kept` are taken.
__device__ void collect_run(const TopKRow& row, const Run& run, uint32_t least, uint32_t kept,
                            uint2 before, uint64_t* out, uint32_t* room) {
  for (uint32_t first = run.begin; first < run.end; first += blockDim.x) {
    const uint32_t i = first + threadIdx.x;
    const uint32_t key = i < run.end ? key_of(row.d_scores[i]) : 0;
    const bool is_better = i < run.end && key > least;
    const bool is_equal = i < run.end && key == least;
    const ScannedFlags in_tile = block_scan_flags(is_better, is_equal, room);
    const uint32_t equal_before = before.y + in_tile.second_before;
    if (is_better || (is_equal && equal_before < kept)) {
      out[before.x + in_tile.first_before + min(equal_before, kept)] = uint64_t{key} << 32 | ~i;
    }
    before.x += in_tile.first_total;
    before.y += in_tile.second_total;
  }
}

/// Block (x, y): run x of row y.
__global__ void count_pass_kernel(SelectArgs a, uint32_t pass) {
  __shared__ uint32_t histogram[kBuckets];
  __shared__ uint32_t room[kWarp];
  __shared__ uint32_t is_last;
  const TopKRow row = a.rows[blockIdx.y];
  RowState& state = a.states[blockIdx.y];
  if (wanted(row) == 0) return;
  const uint32_t remaining = pass == 0 ? wanted(row) : state.remaining;
  count_keys(row, run_of(row), pass, state.prefix, histogram);
  for (uint32_t i = threadIdx.x; i < kBuckets; i += kThreads) {
    if (histogram[i] > 0) atomicAdd(&state.histogram[pass][i], histogram[i]);
  }
  __threadfence();  // the sums are there before the ticket says so
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(&state.ticket[pass], 1u) + 1 == gridDim.x ? 1 : 0;
  __syncthreads();
  if (is_last == 0) return;
  __threadfence();
  find_bucket(state.histogram[pass], pass_bits(pass), remaining, &state.prefix, &state.remaining,
              room);
}

__global__ void count_survivors_kernel(SelectArgs a) {
  __shared__ uint32_t room[kWarp];
  const TopKRow row = a.rows[blockIdx.y];
  if (wanted(row) == 0) return;
  const uint32_t least = a.states[blockIdx.y].prefix;
  const Run run = run_of(row);
  uint32_t better = 0, equal = 0;
  for (uint32_t i = run.begin + threadIdx.x; i < run.end; i += kThreads) {
    const uint32_t key = key_of(row.d_scores[i]);
    better += key > least ? 1 : 0;
    equal += key == least ? 1 : 0;
  }
  better = block_sum(better, room);
  equal = block_sum(equal, room);
  if (threadIdx.x == 0) {
    a.counts[uint64_t{blockIdx.y} * gridDim.x + blockIdx.x] = make_uint2(better, equal);
  }
}

/// Each block adds up the counts of those before it, then walks its run in tiles of a block.
__global__ void collect_kernel(SelectArgs a) {
  __shared__ uint32_t room[kWarp];
  const TopKRow row = a.rows[blockIdx.y];
  if (wanted(row) == 0) return;
  const RowState& state = a.states[blockIdx.y];
  const uint2* counts = a.counts + uint64_t{blockIdx.y} * gridDim.x;
  uint32_t better = 0, equal = 0;
  for (uint32_t b = threadIdx.x; b < blockIdx.x; b += kThreads) {
    better += counts[b].x;
    equal += counts[b].y;
  }
  better = block_sum(better, room);
  equal = block_sum(equal, room);
  collect_run(row, run_of(row), state.prefix, state.remaining, make_uint2(better, equal),
              a.survivors + uint64_t{blockIdx.y} * a.survivors_max, room);
}

/// All of it in one block, for rows that one can read quickly: block x has row x.
__global__ void collect_short_kernel(SelectArgs a) {
  __shared__ uint32_t histogram[kBuckets];
  __shared__ uint32_t room[kWarp];
  __shared__ uint32_t prefix, remaining;
  const TopKRow row = a.rows[blockIdx.x];
  if (wanted(row) == 0) return;
  if (threadIdx.x == 0) {
    prefix = 0;
    remaining = wanted(row);
  }
  const Run run = {row.begin, row.end};
  __syncthreads();
  for (uint32_t pass = 0; pass < kPasses; ++pass) {
    const uint32_t before = remaining;
    count_keys(row, run, pass, prefix, histogram);
    find_bucket(histogram, pass_bits(pass), before, &prefix, &remaining, room);
    __syncthreads();
  }
  collect_run(row, run, prefix, remaining, make_uint2(0, 0),
              a.survivors + uint64_t{blockIdx.x} * a.survivors_max, room);
}

/// A survivor's place is the number of greater ones: no two are alike. Block x of a row places
/// kRankEach of them; each is compared by the threads of one column with a share of the others,
/// which all threads of a warp read at once.
__global__ void rank_kernel(SelectArgs a) {
  constexpr uint32_t kTile = 1024, kParts = kThreads / kRankEach;
  __shared__ uint64_t others[kTile];
  __shared__ uint32_t greater[kParts][kRankEach];
  const TopKRow row = a.rows[blockIdx.y];
  const uint32_t count = wanted(row);
  if (blockIdx.x * kRankEach >= count) return;
  const uint64_t* survivors = a.survivors + uint64_t{blockIdx.y} * a.survivors_max;
  const uint32_t column = threadIdx.x % kRankEach, part = threadIdx.x / kRankEach;
  const uint32_t mine = blockIdx.x * kRankEach + column;
  const uint64_t key = mine < count ? survivors[mine] : 0;
  uint32_t place = 0;
  for (uint32_t first = 0; first < count; first += kTile) {
    const uint32_t here = min(kTile, count - first);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < here; i += kThreads) others[i] = survivors[first + i];
    __syncthreads();
    for (uint32_t i = part; i < here; i += kParts) place += others[i] > key ? 1 : 0;
  }
  greater[part][column] = place;
  __syncthreads();
  if (part != 0 || mine >= count) return;
  for (uint32_t p = 1; p < kParts; ++p) place += greater[p][column];
  const uint32_t position = ~static_cast<uint32_t>(key);
  row.d_out[place] = {position, row.d_scores[position]};
}

/// Memory of one call; states null where there is none to be had.
SelectArgs make_args(CudaContext& context, const TopKRows& rows, uint32_t blocks) {
  SelectArgs args{};
  args.rows = rows.d_rows;
  args.survivors_max = std::min(rows.k_max, rows.length_max);
  const uint64_t counts_bytes = uint64_t{rows.rows} * blocks * sizeof(uint2);
  const uint64_t survivors_bytes = uint64_t{rows.rows} * args.survivors_max * sizeof(uint64_t);
  auto* memory = static_cast<std::byte*>(
      context.scratch(CudaContext::kSelection,
                      counts_bytes + survivors_bytes + uint64_t{rows.rows} * sizeof(RowState)));
  if (memory == nullptr) return args;
  args.counts = reinterpret_cast<uint2*>(memory);
  args.survivors = reinterpret_cast<uint64_t*>(memory + counts_bytes);
  args.states = reinterpret_cast<RowState*>(memory + counts_bytes + survivors_bytes);
  return args;
}

/// Up to the survivors in order of positions.
SelectArgs collect(CudaContext& context, const TopKRows& rows) {
  const RowsShape shape = rows_shape(rows.rows, rows.length_max, context.multiprocessors());
  static_assert(kThreads == RowsShape().threads);
  const SelectArgs args = make_args(context, rows, shape.blocks);
  if (args.states == nullptr) return args;
  if (rows.length_max <= kShortRow) {
    launch(context.shape(rows.rows, kShortThreads), &collect_short_kernel, args);
    context.check_launch("top_k");
    return args;
  }
  const dim3 grid(shape.blocks, rows.rows);
  context.clear(args.states, rows.rows * sizeof(RowState));
  for (uint32_t pass = 0; pass < kPasses; ++pass) {
    launch(context.shape(grid, shape.threads), &count_pass_kernel, args, pass);
  }
  launch(context.shape(grid, shape.threads), &count_survivors_kernel, args);
  launch(context.shape(grid, shape.threads), &collect_kernel, args);
  context.check_launch("top_k");
  return args;
}

void rank(CudaContext& context, const TopKRows& rows, const SelectArgs& args) {
  const dim3 grid(rank_blocks(args.survivors_max), rows.rows);
  launch(context.shape(grid, kThreads), &rank_kernel, args);
  context.check_launch("top_k");
}

template <class T>
std::vector<T> download(CudaContext& context, const T* from, uint32_t count) {
  auto* pinned = static_cast<T*>(context.pinned(count * sizeof(T)));
  if (context.failed()) return {};
  context.check(
      cudaMemcpyAsync(pinned, from, count * sizeof(T), cudaMemcpyDeviceToHost, context.stream()),
      "reading the best scores");
  context.wait("top_k");
  if (context.failed()) return {};
  return std::vector<T>(pinned, pinned + count);
}

float score_of(uint64_t survivor) {
  const auto key = static_cast<uint32_t>(survivor >> 32);
  return std::bit_cast<float>((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

/// Many survivors: ordered here.
std::vector<Scored> ordered(std::span<uint64_t> survivors) {
  std::sort(survivors.begin(), survivors.end(), std::greater<>());
  std::vector<Scored> best;
  best.reserve(survivors.size());
  for (const uint64_t s : survivors) best.push_back({~static_cast<uint32_t>(s), score_of(s)});
  return best;
}

}  // namespace

void top_k_rows(CudaContext& context, const TopKRows& rows) {
  EBB_CHECK(rows.rows <= 65535);
  if (rows.rows == 0 || rows.length_max == 0 || rows.k_max == 0 || context.failed()) return;
  const SelectArgs args = collect(context, rows);
  if (args.states != nullptr) rank(context, rows, args);
}

std::vector<std::vector<Scored>> top_k(CudaContext& context, std::span<const TopKArgs> items) {
  std::vector<std::vector<Scored>> best(items.size());
  std::vector<TopKRow> rows;
  TopKRows call;
  uint32_t total = 0;
  for (const TopKArgs& item : items) {
    EBB_CHECK(item.begin <= item.end);
    const uint32_t count = std::min(item.k, item.end - item.begin);
    rows.push_back({item.d_scores, item.begin, item.end, count, nullptr});
    call.length_max = std::max(call.length_max, item.end - item.begin);
    call.k_max = std::max(call.k_max, count);
    total += count;
  }
  auto* d_out = total == 0 ? nullptr : context.scratch_of<Scored>(CudaContext::kSmall, total);
  if (d_out == nullptr) return best;
  EBB_CHECK(rows.size() <= 65535);
  uint32_t at = 0;
  for (TopKRow& row : rows) {
    row.d_out = d_out + at;
    at += row.k;
  }
  call.d_rows = context.upload(rows);
  call.rows = static_cast<uint32_t>(rows.size());
  const SelectArgs args = context.failed() ? SelectArgs{} : collect(context, call);
  if (args.states == nullptr) return best;
  if (call.k_max > kRankMax) {
    auto all = download(context, args.survivors, call.rows * args.survivors_max);
    for (size_t i = 0; i < rows.size() && !all.empty(); ++i) {
      best[i] = ordered(std::span(all).subspan(i * args.survivors_max, rows[i].k));
    }
    return best;
  }
  rank(context, call, args);
  const std::vector<Scored> all = download(context, d_out, total);
  auto from = all.begin();
  for (size_t i = 0; i < rows.size() && !all.empty(); ++i) {
    best[i].assign(from, from + rows[i].k);
    from += rows[i].k;
  }
  return best;
}

}  // namespace ebb::kernels::cuda
