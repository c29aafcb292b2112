// What a block of attend_tiles does. Tiles of 64 query vectors pass over K and V in shared memory,
// with an online softmax between the two products (FlashAttention-2, arXiv:2307.08691). A warp owns
// 16 vectors and all of their sums; the next tile of K and V is copied while one is computed. K and
// V are exact bf16; queries and weights are f32, each as the sum of two bf16, so that a product is
// wrong by about 2^-17 of it and not by 2^-9. Bytes: K and V once for each tile of vectors. Empty
// set: out = 0, lse = -inf.
#pragma once

#include "kernels/cuda/attend_shapes.h"
#include "kernels/cuda/attend_states.h"
#include "kernels/cuda/tensor_core.cuh"

namespace ebb::kernels::cuda {

constexpr unsigned kTileWarps = kTileVectors / 16;
constexpr unsigned kTileThreads = kTileWarps * kWarp;
/// bf16 numbers whose sum stands for a query's element, and for a weight: 1 (faster) or 2.
constexpr unsigned kQueryParts = 2;
constexpr unsigned kWeightParts = 2;

struct TileArgs {
  const float* q = nullptr;
  const float* q_alt = nullptr;
  uint32_t alt_count = 0;
  uint32_t rows = 0;
  uint32_t count = 0;
  uint32_t window = 0;
  const std::byte* arena = nullptr;
  const uint32_t* blocks = nullptr;
  float* out = nullptr;
  float* lse = nullptr;
  States states;
  uint32_t tiles = 1;
  uint32_t chunks = 1;
  uint32_t heads_kv = 0;
  uint32_t group = 0;
  uint32_t head_size = 0;
  uint32_t block_tokens = 0;
  uint32_t row_bytes = 0;
  uint32_t vector_bytes = 0;
  float scale = 1;
};

template <unsigned kColumns>
class TileAttention {
 public:
  __device__ TileAttention(const TileArgs& a, unsigned short* room) : a_(a), queries_(room) {
    kv_head_ = blockIdx.x % a.heads_kv;
    chunk_ = blockIdx.x / a.heads_kv % a.chunks;
    // The last tiles see most: they begin first.
    const uint32_t tile = a.tiles - 1 - blockIdx.x / a.heads_kv / a.chunks;
    first_vector_ = tile * kTileVectors;
    vectors_ = a.rows * a.group;
    const uint32_t last_vector = min(first_vector_ + kTileVectors, vectors_) - 1;
    first_seen_ = seen_by(first_vector_ / a.group);
    last_seen_ = seen_by(last_vector / a.group);
    for (unsigned i = 0; i < 2; ++i) {
      const uint32_t vector = min(own_vector(i), vectors_ - 1);
      seen_[i] = seen_by(vector / a.group);
    }
    const uint32_t all = last_seen_.end - first_seen_.begin;
    const uint32_t share = (all + a.chunks - 1) / a.chunks;
    const uint32_t each = (share + kEntries - 1) / kEntries * kEntries;
    begin_ = first_seen_.begin + min(chunk_ * each, all);
    end_ = min(begin_ + each, last_seen_.end);
    alt_end_ = a.q_alt == nullptr ? begin_ : min(max(a.alt_count, begin_), end_);
  }

  __device__ void run() {
    const uint32_t alt_steps = (alt_end_ - begin_ + kEntries - 1) / kEntries;
    const uint32_t steps = alt_steps + (end_ - alt_end_ + kEntries - 1) / kEntries;
    clear_columns();
    hold_queries(alt_steps > 0 ? a_.q_alt : a_.q);
    if (steps > 0) fetch(step_at(0, alt_steps), 0);
    copies_end_group();
    for (uint32_t s = 0; s < steps; ++s) {
      if (s > 0 && s == alt_steps) hold_queries(a_.q);
      if (s + 1 < steps) fetch(step_at(s + 1, alt_steps), (s + 1) % 2);
      copies_end_group();
      copies_wait<1>();
      __syncthreads();
      attend(step_at(s, alt_steps), s % 2);
      __syncthreads();  // before what was read is overwritten
    }
    finish();
  }

 private:
  static constexpr unsigned kEntries = tile_entries(kColumns);
  /// Rows in shared memory are 16 bytes longer, so that eight of them lie in different banks.
  static constexpr unsigned kPitch = kColumns + 8;
  static constexpr unsigned kKvTile = kEntries * kPitch;

  /// Entries [first, min(first + kEntries, end)).
  struct Step {
    uint32_t first;
    uint32_t end;
  };

  /// No step needs both queries: those of the variant come first and end where it does.
  __device__ Step step_at(uint32_t step, uint32_t alt_steps) const {
    if (step < alt_steps) return {begin_ + step * kEntries, alt_end_};
    return {alt_end_ + (step - alt_steps) * kEntries, end_};
  }
  __device__ RowEntries seen_by(uint32_t row) const {
    return row_entries(a_.count, a_.rows, row, a_.window);
  }
  /// The vector of this lane's row i of C.
  __device__ uint32_t own_vector(unsigned i) const {
    return first_vector_ + warp_id() * 16 + lane_id() / 4 + i * 8;
  }
  /// Where a vector lies in [rows, heads_q].
  __device__ uint64_t vector_at(uint32_t vector) const {
    const uint32_t head = kv_head_ * a_.group + vector % a_.group;
    return uint64_t{vector / a_.group} * a_.heads_kv * a_.group + head;
  }
  __device__ unsigned short* query_room(unsigned part) const {
    return queries_ + part * kTileVectors * kPitch;
  }
  __device__ unsigned short* kv_room(unsigned buffer, unsigned part) const {
    return query_room(2) + (buffer * 2 + part) * kKvTile;
  }

  /// Zeros behind the heads of K and V: copies leave them.
  __device__ void clear_columns() {
    const uint32_t width = kColumns - a_.head_size;
    for (uint32_t i = threadIdx.x; i < width * 4 * kEntries; i += kTileThreads) {
      kv_room(0, 0)[i / width * kPitch + a_.head_size + i % width] = 0;
    }
  }

  __device__ void hold_queries(const float* q) {
    for (uint32_t i = threadIdx.x; i < kTileVectors * kColumns; i += kTileThreads) {
      const uint32_t vector = first_vector_ + i / kColumns, d = i % kColumns;
      float rest = 0;
      if (vector < vectors_ && d < a_.head_size) rest = q[vector_at(vector) * a_.head_size + d];
#pragma unroll
      for (unsigned part = 0; part < kQueryParts; ++part) {
        const unsigned short bits = to_bf16_bits(rest);
        query_room(part)[i / kColumns * kPitch + d] = bits;
        rest -= bf16_low(bits);
      }
    }
  }

  /// A warp copies every fourth entry's K and V, 16 bytes a lane; its lanes have looked up where
  /// those entries lie. Past the end the last entry comes again: weights of 0 must meet numbers.
  __device__ void fetch(const Step& step, unsigned buffer) {
    const uint32_t own = min(step.first + warp_id() + kTileWarps * lane_id(), step.end - 1);
    const std::byte* rows = a_.arena + uint64_t{kv_head_} * 2 * a_.vector_bytes;
    const auto mine = reinterpret_cast<unsigned long long>(
        rows + row_offset(a_.blocks[own / a_.block_tokens], own % a_.block_tokens, a_.block_tokens,
                          a_.row_bytes));
    for (unsigned i = 0; i < kEntries / kTileWarps; ++i) {
      const auto* from =
          reinterpret_cast<const std::byte*>(__shfl_sync(kAllLanes, mine, static_cast<int>(i)));
      copy_entry(from, kv_room(buffer, 0) + (warp_id() + kTileWarps * i) * kPitch);
    }
  }

  __device__ __forceinline__ void copy_entry(const std::byte* from, unsigned short* to) const {
    if (a_.head_size % 8 == 0) {
      const uint32_t pieces = a_.head_size / 8;
      for (uint32_t p = lane_id(); p < 2 * pieces; p += kWarp) {
        unsigned short* at = p < pieces ? to + p * 8 : to + kKvTile + (p - pieces) * 8;
        copy_16_async(at, from + uint64_t{p} * 16);
      }
      return;
    }
    const uint32_t pairs = a_.head_size / 2;
    for (uint32_t p = lane_id(); p < 2 * pairs; p += kWarp) {
      unsigned short* at = p < pairs ? to + p * 2 : to + kKvTile + (p - pairs) * 2;
      *reinterpret_cast<unsigned*>(at) = reinterpret_cast<const unsigned*>(from)[p];
    }
  }

  __device__ void attend(const Step& step, unsigned buffer) {
    TileC scores[kEntries / 8];
    multiply_keys(kv_room(buffer, 0), scores);
    const uint32_t last = step.first + kEntries;
    if (step.first < last_seen_.begin || last > first_seen_.end || last > step.end) {
      mask(step, scores);
    }
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) weigh(i, scores);
    add_values(kv_room(buffer, 1), scores);
  }

  /// scores = queries times K transposed, of this warp's 16 vectors.
  __device__ __forceinline__ void multiply_keys(const unsigned short* keys,
                                                TileC (&scores)[kEntries / 8]) const {
    const unsigned lane = lane_id();
#pragma unroll
    for (unsigned n = 0; n < kEntries / 8; ++n) scores[n] = {};
#pragma unroll
    for (unsigned d = 0; d < kColumns; d += 16) {
      TileA q[kQueryParts];
#pragma unroll
      for (unsigned part = 0; part < kQueryParts; ++part) {
        const unsigned row = warp_id() * 16 + lane % 16;
        const FourMatrices m = load_matrices(query_room(part) + row * kPitch + d + lane / 16 * 8);
        q[part] = {{m.at[0], m.at[1], m.at[2], m.at[3]}};
      }
#pragma unroll
      for (unsigned e = 0; e < kEntries; e += 16) {
        const unsigned row = e + lane / 16 * 8 + lane % 8;
        const FourMatrices k = load_matrices(keys + row * kPitch + d + lane / 8 % 2 * 8);
#pragma unroll
        for (unsigned part = 0; part < kQueryParts; ++part) {
          multiply_add(scores[e / 8], q[part], {{k.at[0], k.at[1]}});
          multiply_add(scores[e / 8 + 1], q[part], {{k.at[2], k.at[3]}});
        }
      }
    }
  }

  __device__ __forceinline__ void mask(const Step& step, TileC (&scores)[kEntries / 8]) const {
#pragma unroll
    for (unsigned n = 0; n < kEntries / 8; ++n) {
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) {
        const uint32_t e = step.first + n * 8 + lane_id() % 4 * 2 + i % 2;
        const RowEntries& seen = seen_[i / 2];
        if (e < seen.begin || e >= seen.end || e >= step.end) scores[n].at[i] = kVeryLow;
      }
    }
  }

  /// Row i of C: scores become weights exp(scale * (score - top)), and what there was so far is
  /// scaled to the new top.
  __device__ __forceinline__ void weigh(unsigned i, TileC (&scores)[kEntries / 8]) {
    float most = top_[i];
#pragma unroll
    for (unsigned n = 0; n < kEntries / 8; ++n) {
      most = fmaxf(most, fmaxf(scores[n].at[2 * i], scores[n].at[2 * i + 1]));
    }
    most = warp_max(most, 4);
    const float to_exponent = a_.scale * 1.44269504f;  // log2 e
    const float factor = exp2f((top_[i] - most) * to_exponent);
    // Where nothing is seen yet every score is very low, and must weigh 0.
    const float base = most == kVeryLow ? 0.0f : most * to_exponent;
    top_[i] = most;
    sum_[i] *= factor;
#pragma unroll
    for (unsigned n = 0; n < kColumns / 8; ++n) {
      out_[n].at[2 * i] *= factor;
      out_[n].at[2 * i + 1] *= factor;
    }
#pragma unroll
    for (unsigned n = 0; n < kEntries / 8; ++n) {
#pragma unroll
      for (unsigned j = 2 * i; j < 2 * i + 2; ++j) {
        scores[n].at[j] = exp2f(fmaf(scores[n].at[j], to_exponent, -base));
        sum_[i] += scores[n].at[j];
      }
    }
  }

  /// out += weights times V. Two tiles of C beside each other are one of A.
  __device__ __forceinline__ void add_values(const unsigned short* values,
                                             const TileC (&weights)[kEntries / 8]) {
    const unsigned lane = lane_id();
    TileA w[kEntries / 16][kWeightParts];
#pragma unroll
    for (unsigned e = 0; e < kEntries; e += 16) {
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) {
        float low = weights[e / 8 + i / 2].at[i % 2 * 2];
        float high = weights[e / 8 + i / 2].at[i % 2 * 2 + 1];
#pragma unroll
        for (unsigned part = 0; part < kWeightParts; ++part) {
          const unsigned pair = bf16_pair(low, high);
          w[e / 16][part].at[i] = pair;
          low -= bf16_low(pair);
          high -= bf16_high(pair);
        }
      }
    }
    // Tensor cores cut off what they add to a sum, they do not round it: over a long sequence that
    // would shrink the outputs. So every tile's sums begin at 0.
#pragma unroll
    for (unsigned d = 0; d < kColumns; d += 16) {
      TileC fresh[2] = {};
#pragma unroll
      for (unsigned e = 0; e < kEntries; e += 16) {
        const unsigned row = e + lane % 16;
        const FourMatrices v = load_matrices_transposed(values + row * kPitch + d + lane / 16 * 8);
#pragma unroll
        for (unsigned part = 0; part < kWeightParts; ++part) {
          multiply_add(fresh[0], w[e / 16][part], {{v.at[0], v.at[1]}});
          multiply_add(fresh[1], w[e / 16][part], {{v.at[2], v.at[3]}});
        }
      }
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) {
        out_[d / 8].at[i] += fresh[0].at[i];
        out_[d / 8 + 1].at[i] += fresh[1].at[i];
      }
    }
  }

  __device__ void finish() {
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
      const float sum = warp_sum(sum_[i], 4);
      if (own_vector(i) >= vectors_) continue;
      const uint64_t vector = vector_at(own_vector(i));
      const bool writes = lane_id() % 4 == 0;  // one of the four lanes of a row
      const bool empty = sum == 0;
      float* to = a_.out + vector * a_.head_size;
      float share = empty ? 0.0f : 1.0f / sum;
      if (a_.chunks > 1) {
        const uint64_t state = vector * a_.chunks + chunk_;
        to = a_.states.outs + state * a_.head_size;
        share = 1;
        if (writes) {
          a_.states.tops[state] = make_float2(empty ? kVeryLow : top_[i] * a_.scale, sum);
        }
      } else if (a_.lse != nullptr && writes) {
        const float lse = top_[i] * a_.scale + logf(sum);
        a_.lse[vector] = empty ? __uint_as_float(0xff800000u) : lse;
      }
#pragma unroll
      for (unsigned n = 0; n < kColumns / 8; ++n) {
        const uint32_t d = n * 8 + lane_id() % 4 * 2;
        if (d >= a_.head_size) continue;  // heads are even
        to[d] = out_[n].at[2 * i] * share;
        to[d + 1] = out_[n].at[2 * i + 1] * share;
      }
    }
  }

  const TileArgs& a_;
  unsigned short* const queries_;  ///< shared: [2][kTileVectors], then K, V, K, V [kEntries]
  uint32_t kv_head_, chunk_;
  uint32_t first_vector_, vectors_;
  RowEntries first_seen_, last_seen_;  ///< of the tile's first and last row
  RowEntries seen_[2];                 ///< of the rows of this lane
  uint32_t begin_, end_, alt_end_;     ///< entries of this block, and of the query variant in them
  TileC out_[kColumns / 8] = {};
  float top_[2] = {kVeryLow, kVeryLow};  ///< of scores before scaling
  float sum_[2] = {};                    ///< this lane's share
};

}  // namespace ebb::kernels::cuda
