// See attend.h. The left-out estimate: attention over pseudo-tokens that are never stored. A lane
// finds what the list takes from its run by bisection; a vector is the run's sum less the listed
// rows, in ascending order. Bytes: sums once, listed rows once (for each part of a group of query
// heads).
#include <cmath>

#include "base/check.h"
#include "kernels/cuda/attend.h"
#include "kernels/cuda/attend_core.cuh"
#include "kernels/cuda/attend_states.h"
#include "kernels/cuda/page_map.cuh"

namespace ebb::kernels::cuda {
namespace {

/// One item; offsets are into what was uploaded for the call.
struct RestItem {
  const float* q = nullptr;
  const std::byte* arena = nullptr;
  const std::byte* sums = nullptr;
  uint64_t blocks_at = 0;
  uint64_t sum_blocks_at = 0;
  const uint32_t* slots = nullptr;  ///< null: at slots_at
  uint64_t slots_at = 0;
  const uint32_t* positions = nullptr;  ///< null: at positions_at
  uint64_t positions_at = 0;
  uint32_t listed = 0;
  uint32_t runs = 0;
  uint32_t chunk_runs = 0;
  uint32_t chunks = 0;
  uint64_t state_at = 0;
};

struct RestWork {
  uint32_t item;
  uint32_t chunk;
};

struct RestArgs {
  const std::byte* upload = nullptr;
  uint64_t items_at = 0;
  uint64_t work_at = 0;
  uint32_t works = 0;
  States states;
  KvElement element = KvElement::kBF16;
  uint32_t heads_kv = 0;
  uint32_t group = 0;  ///< query heads to a KV head
  uint32_t parts = 0;  ///< blocks that share the heads of a group
  uint32_t head_size = 0;
  uint32_t block_tokens = 0;
  uint32_t row_bytes = 0;
  uint32_t vector_bytes = 0;
  uint64_t block_bytes = 0;
  uint32_t run_bytes = 0;
  uint32_t page_runs = 0;
  float scale = 1;
};

/// Elements [at, at + 8) of a vector of `size`, 0 past its end.
__device__ __forceinline__ void read_slice(const std::byte* from, uint32_t at, uint32_t size,
                                           KvElement element, float (&out)[kSliceElements]) {
  if (size % kSliceElements == 0 && element == KvElement::kBF16) {
    const uint4 pairs = *reinterpret_cast<const uint4*>(from + uint64_t{at} * 2);
    out[0] = bf16_low(pairs.x), out[1] = bf16_high(pairs.x);
    out[2] = bf16_low(pairs.y), out[3] = bf16_high(pairs.y);
    out[4] = bf16_low(pairs.z), out[5] = bf16_high(pairs.z);
    out[6] = bf16_low(pairs.w), out[7] = bf16_high(pairs.w);
    return;
  }
  if (size % kSliceElements == 0) {
    const auto* floats = reinterpret_cast<const float4*>(from + uint64_t{at} * 4);
    const float4 low = floats[0], high = floats[1];
    out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
    out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
    return;
  }
#pragma unroll
  for (unsigned j = 0; j < kSliceElements; ++j) {
    out[j] = at + j < size ? kv_value(from, at + j, element) : 0.0f;
  }
}

/// Entries that are runs of tokens, of which the listed ones are taken away.
template <unsigned kLanes>
class RestSource {
 public:
  struct Raw {
    float at[kSliceElements];
  };
  /// A run, and the entries [begin, begin + listed) of the list that lie in it.
  struct Entry {
    uint32_t run;
    uint32_t begin;
    uint32_t listed;
  };

  __device__ RestSource(const RestArgs& a, const RestItem& item, uint32_t kv_head)
      : args_(a),
        item_(item),
        kv_head_(kv_head),
        blocks_(words(item.blocks_at)),
        sums_{const_cast<std::byte*>(item.sums), words(item.sum_blocks_at), a.block_bytes,
              a.run_bytes, a.page_runs},
        slots_(item.slots != nullptr ? item.slots : words(item.slots_at)),
        positions_(item.positions != nullptr ? item.positions : words(item.positions_at)) {}

  __device__ __forceinline__ Entry find(uint32_t run) const {
    const uint32_t begin = first_from(run, 0, item_.listed);
    const uint32_t most = min(item_.listed, begin + kSumTokens);
    return {run, begin, first_from(run + 1, begin, most) - begin};
  }
  __device__ __forceinline__ Entry of_lane(const Entry& mine, unsigned step) const {
    const auto lane = static_cast<int>(step);
    return {__shfl_sync(kAllLanes, mine.run, lane, kLanes),
            __shfl_sync(kAllLanes, mine.begin, lane, kLanes),
            __shfl_sync(kAllLanes, mine.listed, lane, kLanes)};
  }
  __device__ __forceinline__ bool seen(const Entry& entry) const {
    return entry.listed < kSumTokens;
  }
  __device__ __forceinline__ float bias(const Entry& entry) const {
    return seen(entry) ? logf(static_cast<float>(kSumTokens - entry.listed)) : 0.0f;
  }

  __device__ Raw load(const Entry& entry, unsigned part) const {
    Raw raw{};
    const uint32_t size = args_.head_size;
    const uint32_t at = lane_id() % kLanes * kSliceElements;
    if (at >= size || !seen(entry)) return raw;
    const uint64_t vector = kv_head_ * 2 + part;
    const std::byte* sums = sums_.entry(entry.run) + vector * size * sizeof(float);
    read_slice(sums, at, size, KvElement::kF32, raw.at);
    for (uint32_t i = entry.begin; i < entry.begin + entry.listed; ++i) {
      const uint32_t slot = slots_[i];
      const std::byte* row =
          item_.arena + row_offset(blocks_[slot / args_.block_tokens], slot % args_.block_tokens,
                                   args_.block_tokens, args_.row_bytes);
      float listed[kSliceElements];
      read_slice(row + vector * args_.vector_bytes, at, size, args_.element, listed);
#pragma unroll
      for (unsigned j = 0; j < kSliceElements; ++j) raw.at[j] -= listed[j];
    }
    const float share = 1.0f / static_cast<float>(kSumTokens - entry.listed);
#pragma unroll
    for (unsigned j = 0; j < kSliceElements; ++j) raw.at[j] *= share;
    return raw;
  }

  __device__ __forceinline__ void unpack(const Raw& raw, float (&out)[kSliceElements]) const {
#pragma unroll
    for (unsigned j = 0; j < kSliceElements; ++j) out[j] = raw.at[j];
  }

 private:
  __device__ const uint32_t* words(uint64_t at) const {
    return reinterpret_cast<const uint32_t*>(args_.upload + at);
  }
  /// The first entry in [begin, end) of the list that is of run `run` or a later one; else `end`.
  __device__ uint32_t first_from(uint32_t run, uint32_t begin, uint32_t end) const {
    while (begin < end) {
      const uint32_t middle = begin + (end - begin) / 2;
      if (positions_[middle] / kSumTokens < run) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin;
  }

  const RestArgs& args_;
  const RestItem& item_;
  const uint32_t kv_head_;
  const uint32_t* const blocks_;
  const PageMap sums_;
  const uint32_t* const slots_;
  const uint32_t* const positions_;
};

template <unsigned kLanes, unsigned kHeads>
__global__ void __launch_bounds__(kDecodeThreads) rest_kernel(RestArgs a) {
  EBB_DYNAMIC_SHARED(float, room);
  const uint32_t units = a.heads_kv * a.parts;
  const uint32_t unit = blockIdx.x % units;
  const RestWork work = reinterpret_cast<const RestWork*>(a.upload + a.work_at)[blockIdx.x / units];
  const RestItem item = reinterpret_cast<const RestItem*>(a.upload + a.items_at)[work.item];
  const uint32_t kv_head = unit / a.parts;
  const uint32_t first_of_group = unit % a.parts * kHeads;
  const uint32_t head = kv_head * a.group + first_of_group;
  const uint32_t size = a.head_size;
  CoreRange range{};
  range.begin = work.chunk * item.chunk_runs;
  range.end = range.begin + min(item.runs - range.begin, item.chunk_runs);
  range.q = item.q + uint64_t{head} * size;
  range.heads = min(kHeads, a.group - first_of_group);
  range.head_size = size;
  range.scale = a.scale;
  const RestSource<kLanes> source(a, item, kv_head);
  attend_range<RestSource<kLanes>, kLanes, kHeads>(
      source, range, room, [&](uint32_t h, uint32_t d, float top, float sum, float out) {
        const uint64_t state = item.state_at + uint64_t{head + h} * item.chunks + work.chunk;
        a.states.outs[state * size + d] = out;
        if (d == 0) a.states.tops[state] = make_float2(top, sum);
      });
}

template <unsigned kLanes>
void launch_rests(CudaContext& context, DecodeKind kind, const RestArgs& args) {
  const auto kernel = kind.heads == 1 ? &rest_kernel<kLanes, 1> : &rest_kernel<kLanes, 4>;
  const dim3 grid(args.works * args.heads_kv * args.parts);
  const uint64_t shared = decode_shared_bytes(kind, args.head_size);
  launch(context.shape(grid, kDecodeThreads, shared), kernel, args);
  context.check_launch("attend_left_out");
}

/// What one call does: items without a complete run are left as they are.
struct Plan {
  Packed arrays;
  std::vector<RestItem> items;
  std::vector<RestWork> work;
  std::vector<MergeRow> merges;
  uint64_t states = 0;
};

Plan plan_of(CudaContext& context, const KvShape& shape, std::span<const LeftOutArgs> items) {
  Plan plan;
  for (const LeftOutArgs& item : items) {
    const uint32_t runs = item.length / kSumTokens;
    if (runs == 0) continue;
    const uint32_t page_runs = SumRows::page_runs(shape);
    EBB_CHECK(page_runs > 0 && runs <= uint64_t{page_runs} * item.sums.blocks.size());
    const Chunks chunks = decode_chunks(runs, shape.heads_kv, context.multiprocessors());
    const auto index = static_cast<uint32_t>(plan.items.size());
    for (uint32_t c = 0; c < chunks.count; ++c) plan.work.push_back({index, c});
    RestItem rest;
    rest.q = item.d_q;
    rest.arena = item.kv.d_arena;
    rest.sums = item.sums.d_arena;
    rest.blocks_at = plan.arrays.add(item.kv.blocks);
    rest.sum_blocks_at = plan.arrays.add(item.sums.blocks);
    rest.slots = item.d_slots;
    if (item.d_slots == nullptr) rest.slots_at = plan.arrays.add(item.slots);
    rest.positions = item.d_positions;
    if (item.d_positions == nullptr) rest.positions_at = plan.arrays.add(item.positions);
    rest.listed = static_cast<uint32_t>(item.positions.size());
    rest.runs = runs;
    rest.chunk_runs = chunks.entries;
    rest.chunks = chunks.count;
    rest.state_at = plan.states;
    plan.items.push_back(rest);
    plan.merges.push_back({item.d_out, item.d_lse, plan.states, chunks.count, true});
    plan.states += uint64_t{shape.heads_q} * chunks.count;
  }
  return plan;
}

RestArgs args_of(const KvShape& shape, const DecodeKind& kind) {
  RestArgs args;
  args.element = shape.element;
  args.heads_kv = shape.heads_kv;
  args.group = shape.heads_q / shape.heads_kv;
  args.parts = (args.group + kind.heads - 1) / kind.heads;
  args.head_size = shape.head_size;
  args.block_tokens = shape.block_tokens;
  args.row_bytes = shape.row_bytes();
  args.vector_bytes = shape.vector_bytes();
  args.block_bytes = shape.block_bytes();
  args.run_bytes = SumRows::run_bytes(shape);
  args.page_runs = SumRows::page_runs(shape);
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size));
  return args;
}

}  // namespace

void attend_left_out(CudaContext& context, const KvShape& shape,
                     std::span<const LeftOutArgs> items) {
  EBB_CHECK(shape.head_size > 0 && shape.head_size % 2 == 0 && shape.head_size <= 256);
  EBB_CHECK(shape.heads_kv > 0 && shape.heads_q % shape.heads_kv == 0);
  const Plan plan = plan_of(context, shape, items);
  if (plan.items.empty() || context.failed()) return;
  DecodeKind kind = decode_kind(shape.head_size, shape.heads_q / shape.heads_kv, KvElement::kBF16);
  kind.heads = kind.heads == 1 ? 1 : 4;  // few enough kernels
  Packed packed = plan.arrays;
  RestArgs args = args_of(shape, kind);
  args.items_at = packed.add(plan.items);
  args.work_at = packed.add(plan.work);
  const uint64_t merges_at = packed.add(plan.merges);
  args.upload = packed.upload(context);
  args.works = static_cast<uint32_t>(plan.work.size());
  args.states = take_states(context, plan.states, shape.head_size);
  if (context.failed()) return;
  (kind.lanes == 8    ? launch_rests<8>
   : kind.lanes == 16 ? launch_rests<16>
                      : launch_rests<32>)(context, kind, args);
  merge_chunks(context, args.states, reinterpret_cast<const MergeRow*>(args.upload + merges_at),
               static_cast<uint32_t>(plan.merges.size()), shape.heads_q, shape.head_size);
}

}  // namespace ebb::kernels::cuda
