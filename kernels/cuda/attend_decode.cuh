// The decode kernel and its choice among head sizes and groups, for one element type. Bytes: K and
// V of a chunk once for each part of a group; KV heads are the fastest index of the grid, so blocks
// that run together read whole rows.
#pragma once

#include "kernels/cuda/attend_core.cuh"
#include "kernels/cuda/attend_decode.h"

namespace ebb::kernels::cuda {

template <KvElement kElement>
struct RawSlice;
template <>
struct RawSlice<KvElement::kBF16> {
  uint4 pairs;
};
template <>
struct RawSlice<KvElement::kF32> {
  float4 low, high;
};

/// Entries that are KV rows. kWhole, bf16 only: slices of 16 bytes; else element by element.
template <KvElement kElement, unsigned kLanes, bool kWhole>
class KvSource {
 public:
  using Raw = RawSlice<kElement>;
  struct Entry {
    const std::byte* k;
  };

  __device__ KvSource(const DecodeArgs& a, const AttendRow& row, uint32_t kv_head, uint32_t head)
      : args_(a),
        arena_(row.arena + uint64_t{kv_head} * 2 * a.vector_bytes),
        blocks_(reinterpret_cast<const uint32_t*>(a.upload + row.blocks_at)),
        first_(row.first) {
    if (!row.listed) return;
    list_ =
        row.list != nullptr ? row.list : reinterpret_cast<const uint32_t*>(a.upload + row.list_at);
    list_ += uint64_t{kv_head} * row.list_kv + uint64_t{head} * row.list_q;
  }

  __device__ __forceinline__ Entry find(uint32_t e) const {
    const uint32_t slot = list_ != nullptr ? list_[e] : first_ + e;
    const uint32_t block = blocks_[slot / args_.block_tokens];
    return {arena_ +
            row_offset(block, slot % args_.block_tokens, args_.block_tokens, args_.row_bytes)};
  }
  __device__ __forceinline__ Entry of_lane(const Entry& mine, unsigned step) const {
    const auto k = reinterpret_cast<unsigned long long>(mine.k);
    return {reinterpret_cast<const std::byte*>(
        __shfl_sync(kAllLanes, k, static_cast<int>(step), kLanes))};
  }
  __device__ __forceinline__ bool seen(const Entry&) const { return true; }
  __device__ __forceinline__ float bias(const Entry&) const { return 0; }

  __device__ __forceinline__ Raw load(const Entry& entry, unsigned part) const {
    const uint32_t at = lane_id() % kLanes * kSliceElements;
    const std::byte* from = entry.k + part * args_.vector_bytes;
    Raw raw{};
    if (at >= args_.head_size) return raw;
    if constexpr (kElement == KvElement::kBF16) {
      if constexpr (kWhole) {
        raw.pairs = __ldg(reinterpret_cast<const uint4*>(from) + lane_id() % kLanes);
      } else {
        load_pairs(reinterpret_cast<const unsigned*>(from) + at / 2, args_.head_size - at, raw);
      }
    } else {
      load_floats(reinterpret_cast<const float*>(from) + at, args_.head_size - at, raw);
    }
    return raw;
  }

  __device__ __forceinline__ void unpack(const Raw& raw, float (&out)[kSliceElements]) const {
    if constexpr (kElement == KvElement::kBF16) {
      out[0] = bf16_low(raw.pairs.x), out[1] = bf16_high(raw.pairs.x);
      out[2] = bf16_low(raw.pairs.y), out[3] = bf16_high(raw.pairs.y);
      out[4] = bf16_low(raw.pairs.z), out[5] = bf16_high(raw.pairs.z);
      out[6] = bf16_low(raw.pairs.w), out[7] = bf16_high(raw.pairs.w);
    } else {
      out[0] = raw.low.x, out[1] = raw.low.y, out[2] = raw.low.z, out[3] = raw.low.w;
      out[4] = raw.high.x, out[5] = raw.high.y, out[6] = raw.high.z, out[7] = raw.high.w;
    }
  }

 private:
  /// Heads are even, so that pairs are whole.
  __device__ __forceinline__ static void load_pairs(const unsigned* from, uint32_t elements,
                                                    Raw& raw) {
    raw.pairs.x = from[0];
    if (elements > 2) raw.pairs.y = from[1];
    if (elements > 4) raw.pairs.z = from[2];
    if (elements > 6) raw.pairs.w = from[3];
  }
  __device__ __forceinline__ static void load_floats(const float* from, uint32_t elements,
                                                     Raw& raw) {
    raw.low.x = from[0], raw.low.y = from[1];
    if (elements > 2) raw.low.z = from[2], raw.low.w = from[3];
    if (elements > 4) raw.high.x = from[4], raw.high.y = from[5];
    if (elements > 6) raw.high.z = from[6], raw.high.w = from[7];
  }

  const DecodeArgs& args_;
  const std::byte* arena_;  ///< at this KV head's K of row 0
  const uint32_t* blocks_;
  const uint32_t* list_ = nullptr;
  uint32_t first_;
};

template <KvElement kElement, unsigned kLanes, unsigned kHeads, bool kWhole>
__global__ void __launch_bounds__(kDecodeThreads) decode_kernel(DecodeArgs a) {
  EBB_DYNAMIC_SHARED(float, room);
  const uint32_t units = a.heads_kv * a.parts;
  const uint32_t unit = blockIdx.x % units;
  const DecodeWork work =
      reinterpret_cast<const DecodeWork*>(a.upload + a.work_at)[blockIdx.x / units];
  const AttendRow row = reinterpret_cast<const AttendRow*>(a.upload + a.rows_at)[work.row];
  const uint32_t kv_head = unit / a.parts;
  const uint32_t part_heads = (a.group + a.parts - 1) / a.parts;
  const uint32_t first_of_group = unit % a.parts * part_heads;
  if (first_of_group >= a.group) return;
  const uint32_t head = kv_head * a.group + first_of_group;
  CoreRange range{};
  range.begin = work.chunk * row.chunk_entries;
  range.end = range.begin + min(row.entries - range.begin, row.chunk_entries);
  range.q = row.q + uint64_t{head} * a.head_size;
  range.q_alt = row.q_alt + uint64_t{head} * a.head_size;
  range.alt_end = row.alt_end;
  range.heads = min(part_heads, a.group - first_of_group);
  range.head_size = a.head_size;
  range.scale = a.scale;
  range.logits_stride = row.logits_stride;
  if (row.logits != nullptr) range.logits = row.logits + uint64_t{head} * row.logits_stride;
  const KvSource<kElement, kLanes, kWhole> source(a, row, kv_head, head);
  const auto store = [&](uint32_t h, uint32_t d, float top, float sum, float out) {
    if (row.chunks > 1) {
      const uint64_t state = row.state_at + uint64_t{head + h} * row.chunks + work.chunk;
      a.states.outs[state * a.head_size + d] = out;
      if (d == 0) a.states.tops[state] = make_float2(top, sum);
      return;
    }
    const bool empty = row.entries == 0;
    if (row.out != nullptr) {
      row.out[uint64_t{head + h} * a.head_size + d] = empty ? 0.0f : out / sum;
    }
    if (row.lse != nullptr && d == 0) {
      row.lse[head + h] = empty ? __uint_as_float(0xff800000u) : top + logf(sum);
    }
  };
  attend_range<KvSource<kElement, kLanes, kWhole>, kLanes, kHeads>(source, range, room, store);
}

template <KvElement kElement, unsigned kLanes, unsigned kHeads, bool kWhole>
void launch_decode_kind(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args) {
  const auto kernel = &decode_kernel<kElement, kLanes, kHeads, kWhole>;
  const uint64_t shared = decode_shared_bytes(kind, args.head_size);
  const dim3 grid(args.works * args.heads_kv * args.parts);
  launch(context.shape(grid, kDecodeThreads, shared), kernel, args);
  context.check_launch("attend_decode");
}

template <KvElement kElement, unsigned kLanes>
void launch_decode_lanes(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args) {
  if (!kind.whole) return launch_decode_kind<kElement, kLanes, 4, false>(context, kind, args);
  // Rows of f32 are for judging other kernels: the general one, and no half minute of compiling.
  if constexpr (kElement == KvElement::kBF16) {
    switch (kind.heads) {
      case 1:
        return launch_decode_kind<kElement, kLanes, 1, true>(context, kind, args);
      case 2:
        return launch_decode_kind<kElement, kLanes, 2, true>(context, kind, args);
      case 4:
        return launch_decode_kind<kElement, kLanes, 4, true>(context, kind, args);
      default:
        return launch_decode_kind<kElement, kLanes, 8, true>(context, kind, args);
    }
  }
}

template <KvElement kElement>
void launch_decode(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args) {
  if (args.works == 0 || context.failed()) return;
  if (kind.lanes == 8) return launch_decode_lanes<kElement, 8>(context, kind, args);
  if (kind.lanes == 16) return launch_decode_lanes<kElement, 16>(context, kind, args);
  launch_decode_lanes<kElement, 32>(context, kind, args);
}

}  // namespace ebb::kernels::cuda
