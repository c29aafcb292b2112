// Attention of a few query heads of one KV head over a range of entries: what a block of decode
// attention and of the left-out estimate does.
//
// A K or V vector lies over kLanes lanes, 8 elements in each, so a warp reads 32 / kLanes vectors
// at once. A warp takes 32 entries at a time: lane i looks up where entry i lies (ahead, one group
// early), and after the products with K holds its logits; softmax is online per warp, so its exp is
// computed once for each entry and head. Query heads share every vector that is read. Sums are f32
// and their order is a function of the entry's number alone: not of its slot, and not of kHeads.
//
// A Source says where entries lie and what they are:
//   Entry find(e)               of entry e: called by each lane for its own
//   Entry of_lane(mine, step)   entry of lane `step` of the lanes that share a vector: all lanes
//   call it Raw load(entry, part)       this lane's slice of its K (part 0) or V (1) void
//   unpack(raw, out)       as floats; 0 past the head's end bool seen(entry), float bias(entry)
//   whether it counts, and what is added to its logits
#pragma once

#include "kernels/cuda/attend_shapes.h"
#include "kernels/cuda/primitives.cuh"

namespace ebb::kernels::cuda {

constexpr unsigned kDecodeThreads = kDecodeWarps * kWarp;
/// Vectors whose loads are in flight together, K and V each.
constexpr unsigned kSteps = 4;

/// What a block works on: entries [begin, end) for `heads` query heads.
struct CoreRange {
  uint32_t begin;
  uint32_t end;
  const float* q;      ///< [heads, head_size]
  const float* q_alt;  ///< scores entries before alt_end
  uint32_t alt_end;    ///< 0: none
  uint32_t heads;
  uint32_t head_size;
  float scale;
  float* logits;  ///< [heads, logits_stride]; null: not wanted
  uint64_t logits_stride;
};

/// Sums of a, b, c, d over kLanes neighbouring lanes: lane j of them gets that of number j % 4.
/// Fewer exchanges than four sums in all lanes, added in the same order.
template <unsigned kLanes>
__device__ __forceinline__ float sums_of_four(float a, float b, float c, float d) {
  const bool odd = (lane_id() & 1) != 0, high = (lane_id() & 2) != 0;
  const float even_pair = (odd ? b : a) + __shfl_xor_sync(kAllLanes, odd ? a : b, 1);
  const float high_pair = (odd ? d : c) + __shfl_xor_sync(kAllLanes, odd ? c : d, 1);
  float sum =
      (high ? high_pair : even_pair) + __shfl_xor_sync(kAllLanes, high ? even_pair : high_pair, 2);
#pragma unroll
  for (unsigned step = 4; step < kLanes; step *= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  return sum;
}

/// The attention of one warp: its queries' slices, and its state so far.
template <class Source, unsigned kLanes, unsigned kHeads>
class WarpAttention {
 public:
  using Entry = typename Source::Entry;
  using Raw = typename Source::Raw;

  __device__ WarpAttention(const Source& source, const CoreRange& range)
      : source_(source), range_(range) {
#pragma unroll
    for (unsigned h = 0; h < kHeads; ++h) {
      top[h] = kVeryLow;
      sum[h] = 0;
#pragma unroll
      for (unsigned j = 0; j < kSliceElements; ++j) out[h][j] = 0;
    }
  }

  /// Groups of 32 entries, one in every kDecodeWarps; then sums over lanes that had other entries.
  __device__ void run() {
    uint32_t first = range_.begin + warp_id() * kGroupEntries;
    if (first >= range_.end) return;
    Entry next = find(first);
    for (; first < range_.end; first += kDecodeWarps * kGroupEntries) {
      const Entry mine = next;
      if (first + kDecodeWarps * kGroupEntries < range_.end) {
        next = find(first + kDecodeWarps * kGroupEntries);
      }
      group(first, mine);
    }
#pragma unroll
    for (unsigned h = 0; h < kHeads; ++h) {
      sum[h] = warp_sum(sum[h]);
#pragma unroll
      for (unsigned j = 0; j < kSliceElements; ++j) {
#pragma unroll
        for (unsigned step = kLanes; step < kWarp; step *= 2) {
          out[h][j] += __shfl_xor_sync(kAllLanes, out[h][j], step);
        }
      }
    }
  }

  float top[kHeads];
  float sum[kHeads];
  float out[kHeads][kSliceElements];  ///< elements (lane % kLanes) * 8 + j

 private:
  /// Past the end the last entry is looked up: it is read and does not count.
  __device__ __forceinline__ Entry find(uint32_t first) const {
    const uint32_t e = first + lane_id();
    return source_.find(e < range_.end ? e : range_.end - 1);
  }

  __device__ void group(uint32_t first, const Entry& mine) {
    const uint32_t e = first + lane_id();
    float logits[kHeads] = {};
    // At most once in a range does a group need both queries.
    for (unsigned alternative = first < range_.alt_end ? 1 : 0;; alternative = 0) {
      hold_queries(alternative == 1);
      score(mine, (e < range_.alt_end) == (alternative == 1), logits);
      if (alternative == 0 || first + kGroupEntries <= range_.alt_end) break;
    }
    Raw values[kSteps];
    load(mine, 0, 1, values);  // on their way while the softmax is computed
    const bool seen = e < range_.end && source_.seen(mine);
    const float bias = source_.bias(mine);
#pragma unroll
    for (unsigned h = 0; h < kHeads; ++h) {
      const float logit = logits[h] * range_.scale + bias;
      if (range_.logits != nullptr && seen && h < range_.heads) {
        range_.logits[h * range_.logits_stride + e] = logit;
      }
      logits[h] = weigh(h, seen ? logit : kVeryLow, seen);
    }
    accumulate(mine, logits, values);
  }

  __device__ __forceinline__ void load(const Entry& mine, unsigned first, unsigned part,
                                       Raw (&raw)[kSteps]) const {
#pragma unroll
    for (unsigned s = 0; s < kSteps; ++s) {
      raw[s] = source_.load(source_.of_lane(mine, first + s), part);
    }
  }

  __device__ void hold_queries(bool alternative) {
    const float* q = alternative ? range_.q_alt : range_.q;
    if (q == held_) return;
    held_ = q;
    const uint32_t at = lane_id() % kLanes * kSliceElements;
#pragma unroll
    for (unsigned h = 0; h < kHeads; ++h) {
#pragma unroll
      for (unsigned j = 0; j < kSliceElements; ++j) {
        const bool there = h < range_.heads && at + j < range_.head_size;
        q_[h][j] = there ? q[uint64_t{h} * range_.head_size + at + j] : 0.0f;
      }
    }
  }

  /// Products of the queries held with K of 32 entries: lane i keeps those of entry i, if it
  /// `wants` them.
  __device__ void score(const Entry& mine, bool wants, float (&logits)[kHeads]) const {
    Raw next[kSteps];
    load(mine, 0, 0, next);
#pragma unroll
    for (unsigned first = 0; first < kLanes; first += kSteps) {
      Raw now[kSteps];
#pragma unroll
      for (unsigned s = 0; s < kSteps; ++s) now[s] = next[s];
      if (first + kSteps < kLanes) load(mine, first + kSteps, 0, next);
      float products[kHeads][kSteps];
#pragma unroll
      for (unsigned s = 0; s < kSteps; ++s) {
        float k[kSliceElements];
        source_.unpack(now[s], k);
#pragma unroll
        for (unsigned h = 0; h < kHeads; ++h) {
          float dot = __fmul_rn(q_[h][0], k[0]);
#pragma unroll
          for (unsigned j = 1; j < kSliceElements; ++j) dot = fmaf(q_[h][j], k[j], dot);
          products[h][s] = dot;
        }
      }
      const bool own = lane_id() % kLanes / kSteps == first / kSteps;
#pragma unroll
      for (unsigned h = 0; h < kHeads; ++h) {
        const float dot =
            sums_of_four<kLanes>(products[h][0], products[h][1], products[h][2], products[h][3]);
        if (own && wants) logits[h] = dot;
      }
    }
  }

  /// Online softmax (Alg. 3 of arXiv:1805.02867), a warp's 32 logits at once: the lane's weight.
  __device__ __forceinline__ float weigh(unsigned h, float logit, bool seen) {
    const float most = fmaxf(top[h], warp_max(logit));
    if (most > top[h]) {  // alike in all lanes
      const float factor = expf(top[h] - most);
      top[h] = most;
      sum[h] *= factor;
#pragma unroll
      for (unsigned j = 0; j < kSliceElements; ++j) out[h][j] *= factor;
    }
    const float weight = seen ? expf(logit - most) : 0.0f;
    sum[h] += weight;
    return weight;
  }

  __device__ void accumulate(const Entry& mine, const float (&weights)[kHeads],
                             Raw (&next)[kSteps]) {
#pragma unroll
    for (unsigned first = 0; first < kLanes; first += kSteps) {
      Raw now[kSteps];
#pragma unroll
      for (unsigned s = 0; s < kSteps; ++s) now[s] = next[s];
      if (first + kSteps < kLanes) load(mine, first + kSteps, 1, next);
#pragma unroll
      for (unsigned s = 0; s < kSteps; ++s) {
        float v[kSliceElements];
        source_.unpack(now[s], v);
#pragma unroll
        for (unsigned h = 0; h < kHeads; ++h) {
          const float weight =
              __shfl_sync(kAllLanes, weights[h], static_cast<int>(first + s), kLanes);
#pragma unroll
          for (unsigned j = 0; j < kSliceElements; ++j) out[h][j] += weight * v[j];
        }
      }
    }
  }

  const Source& source_;
  const CoreRange& range_;
  const float* held_ = nullptr;
  float q_[kHeads][kSliceElements];
};

/// Attention of a block: its warps' states merged in their order. `room`: shared memory,
/// [kDecodeWarps][kHeads][head_size + 2]. `store(h, d, top, sum, out)` is called once for every
/// head and element.
template <class Source, unsigned kLanes, unsigned kHeads, class Store>
__device__ __forceinline__ void attend_range(const Source& source, const CoreRange& range,
                                             float* room, const Store& store) {
  const uint32_t size = range.head_size;
  WarpAttention<Source, kLanes, kHeads> warp(source, range);
  warp.run();
  float* mine = room + warp_id() * kHeads * (size + 2);
#pragma unroll
  for (unsigned h = 0; h < kHeads; ++h) {
    float* state = mine + h * (size + 2);
    if (lane_id() == 0) {
      state[size] = warp.top[h];
      state[size + 1] = warp.sum[h];
    }
#pragma unroll
    for (unsigned j = 0; j < kSliceElements; ++j) {
      const uint32_t d = lane_id() * kSliceElements + j;
      if (lane_id() < kLanes && d < size) state[d] = warp.out[h][j];
    }
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < range.heads * size; i += kDecodeThreads) {
    const float* state = room + i / size * (size + 2);
    float top = kVeryLow, sum = 0, out = 0;
    for (unsigned w = 0; w < kDecodeWarps; ++w) {
      top = fmaxf(top, state[w * kHeads * (size + 2) + size]);
    }
    for (unsigned w = 0; w < kDecodeWarps; ++w) {
      const float* of_warp = state + w * kHeads * (size + 2);
      const float weight = expf(of_warp[size] - top);
      sum += weight * of_warp[size + 1];
      out += weight * of_warp[i % size];
    }
    store(i / size, i % size, top, sum, out);
  }
}

}  // namespace ebb::kernels::cuda
