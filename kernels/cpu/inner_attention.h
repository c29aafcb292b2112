// Attention of one query row over one chunk of KV rows, for the query heads that share a KV head.
// Part of inner.cpp.
//
// Bytes: each K and V row is read once for all its query heads. Numerics: elements to f32, sums in
// f32, one maximum per chunk. The bits depend on the rows' contents and their order only, not on
// where they lie.
//
// A row is read in pairs of vectors, 2 * kLanes elements at once, and the query is dealt into
// firsts and seconds accordingly, once (Bf16Rows, F32Rows).
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/inner_elementwise.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kPair = 2 * kLanes;  // elements of one pair of vectors
constexpr uint32_t kPairsMax = kHeadSizeMax / kPair;

/// One head's vector, dealt into the firsts and the seconds of its pairs.
struct DealtHead {
  alignas(64) float first[kHeadSizeMax / 2];
  alignas(64) float second[kHeadSizeMax / 2];
};

struct VectorPair {
  Floats first;
  Floats second;
};

/// kLanes 32-bit words hold 2 * kLanes elements; `word << 16` are the even, `word & 0xffff0000` the
/// odd elements as floats: nothing is unpacked.
struct Bf16Rows {
  static constexpr uint32_t kBytes = 2;
  static EBB_INLINE uint32_t first_of(uint32_t at) { return at / kLanes * kPair + at % kLanes * 2; }
  static constexpr uint32_t kSecond = 1;  ///< from the first to the second element

  /// Pair `p` of a row; a head that is no multiple of kPair ends in a padded copy.
  template <bool whole>
  static EBB_INLINE VectorPair pair(const std::byte* row, uint32_t p, uint32_t head_size) {
    Ints words = {};
    if constexpr (whole) {
      words = load_as<Ints>(row + p * kPair * kBytes);
    } else if (p * kPair < head_size) {
      const uint32_t left = head_size - p * kPair;
      __builtin_memcpy(&words, row + p * kPair * kBytes, (left < kPair ? left : kPair) * kBytes);
    }
    return {as_floats(words << 16), as_floats(words & static_cast<int32_t>(0xffff0000))};
  }
};

struct F32Rows {
  static constexpr uint32_t kBytes = 4;
  static EBB_INLINE uint32_t first_of(uint32_t at) { return at / kLanes * kPair + at % kLanes; }
  static constexpr uint32_t kSecond = kLanes;

  template <bool whole>
  static EBB_INLINE VectorPair pair(const std::byte* row, uint32_t p, uint32_t head_size) {
    if constexpr (whole) {
      const std::byte* from = row + p * kPair * kBytes;
      return {load_as<Floats>(from), load_as<Floats>(from + kLanes * kBytes)};
    }
    alignas(64) float padded[kPair] = {};
    if (p * kPair < head_size) {
      const uint32_t left = head_size - p * kPair;
      __builtin_memcpy(padded, row + p * kPair * kBytes, (left < kPair ? left : kPair) * kBytes);
    }
    return {load(padded), load(padded + kLanes)};
  }
};

template <class Rows, uint32_t pairs>
EBB_INLINE void deal(const float* from, uint32_t head_size, float scale, DealtHead& to) {
  for (uint32_t at = 0; at < pairs * kLanes; ++at) {
    const uint32_t first = Rows::first_of(at);
    const uint32_t second = first + Rows::kSecond;
    to.first[at] = first < head_size ? from[first] * scale : 0;
    to.second[at] = second < head_size ? from[second] * scale : 0;
  }
}

template <class Rows, uint32_t pairs>
EBB_INLINE void collect(const DealtHead& from, uint32_t head_size, float* to) {
  for (uint32_t at = 0; at < pairs * kLanes; ++at) {
    const uint32_t first = Rows::first_of(at);
    const uint32_t second = first + Rows::kSecond;
    if (first < head_size) to[first] = from.first[at];
    if (second < head_size) to[second] = from.second[at];
  }
}

/// Adds a's upper half (in groups of 2 * step lanes) to its lower one, and b's lower to its upper:
/// two vectors' sums folded into one.
template <uint32_t step>
EBB_INLINE Floats fold(Floats a, Floats b) {
  const Ints lanes = lane_numbers();
  const Ints upper = (lanes & static_cast<int32_t>(step)) != 0;
  const Floats kept = upper ? b : a;
  const Ints crossed =
      (lanes ^ static_cast<int32_t>(step)) + (upper & static_cast<int32_t>(kLanes));
  return kept + __builtin_shuffle(a, b, crossed);
}

template <class Rows, uint32_t heads, uint32_t pairs, bool whole>
struct LogitKernel {
  const DealtHead* q;
  const std::byte* const* rows;
  uint32_t head_size;

  struct Sums {
    Floats head[heads];
  };

  /// Partial sums of entry `e`: one vector per head, not yet folded.
  EBB_INLINE Sums entry(uint32_t e) const {
    Sums sums = {};
#pragma GCC unroll 8
    for (uint32_t p = 0; p < pairs; ++p) {
      const VectorPair k = Rows::template pair<whole>(rows[e], p, head_size);
#pragma GCC unroll 4
      for (uint32_t h = 0; h < heads; ++h) {
        sums.head[h] += load(q[h].first + p * kLanes) * k.first;
        sums.head[h] += load(q[h].second + p * kLanes) * k.second;
      }
    }
    return sums;
  }

  /// Lane j of the result for step = kLanes / 2, e = 0 is the dot product of entry j: the choice
  /// between the two vectors folded at one level is one bit of the lane's number.
  template <uint32_t step>
  EBB_INLINE Sums folded(uint32_t e) const {
    if constexpr (step == kLanes) {
      return entry(e);
    } else {
      const Sums a = folded<step * 2>(e);
      const Sums b = folded<step * 2>(e + step);
      Sums sums;
#pragma GCC unroll 4
      for (uint32_t h = 0; h < heads; ++h) sums.head[h] = fold<step>(a.head[h], b.head[h]);
      return sums;
    }
  }
};

/// The rows of the group that begins at `e`: scattered rows are beyond what the hardware guesses.
EBB_INLINE void prefetch_rows(const AttendChunk& c, uint32_t e) {
  if (e + kLanes > c.entries + kRowsPast) return;
  for (uint32_t i = 0; i < kLanes; ++i) {
    for (uint32_t at = 0; at < c.prefetch_bytes; at += 64) __builtin_prefetch(c.rows[e + i] + at);
  }
}

/// logits[h * stride + e] for e in [begin, end).
template <class Rows, uint32_t heads, uint32_t pairs, bool whole>
void chunk_logits(const AttendChunk& c, const DealtHead* q, uint32_t begin, uint32_t end) {
  for (uint32_t e = begin; e < end; e += kLanes) {
    prefetch_rows(c, e + kLanes);
    const uint32_t live = end - e < kLanes ? end - e : kLanes;
    const LogitKernel<Rows, heads, pairs, whole> kernel{q, c.rows + e, c.head_size};
    const auto sums = kernel.template folded<1>(0);
    for (uint32_t h = 0; h < heads; ++h) {
      store_some(c.logits + h * c.logits_stride + e, sums.head[h], live);
    }
  }
}

/// out[h] = sum_e weights[h, e] v_e, entries in ascending order.
template <class Rows, uint32_t heads, uint32_t pairs, bool whole>
void chunk_values(const AttendChunk& c, uint64_t weights_stride) {
  Floats first[heads][pairs] = {};
  Floats second[heads][pairs] = {};
  for (uint32_t e = 0; e < c.entries; ++e) {
    const std::byte* row = c.rows[e] + c.head_size * Rows::kBytes;
#pragma GCC unroll 8
    for (uint32_t p = 0; p < pairs; ++p) {
      const VectorPair v = Rows::template pair<whole>(row, p, c.head_size);
#pragma GCC unroll 4
      for (uint32_t h = 0; h < heads; ++h) {
        first[h][p] += v.first * c.weights[h * weights_stride + e];
        second[h][p] += v.second * c.weights[h * weights_stride + e];
      }
    }
  }
  for (uint32_t h = 0; h < heads; ++h) {
    DealtHead sums;
    for (uint32_t p = 0; p < pairs; ++p) {
      store(sums.first + p * kLanes, first[h][p]);
      store(sums.second + p * kLanes, second[h][p]);
    }
    collect<Rows, pairs>(sums, c.head_size, c.out + h * c.head_size);
  }
}

template <class Rows, uint32_t heads, uint32_t pairs, bool whole>
void attend_heads(const AttendChunk& c) {
  DealtHead q[heads];
  uint32_t begin = 0;
  if (c.q_alt != nullptr && c.alt_entries > 0) {
    begin = c.alt_entries < c.entries ? c.alt_entries : c.entries;
    for (uint32_t h = 0; h < heads; ++h) {
      deal<Rows, pairs>(c.q_alt + h * c.head_size, c.head_size, c.scale, q[h]);
    }
    chunk_logits<Rows, heads, pairs, whole>(c, q, 0, begin);
  }
  for (uint32_t h = 0; h < heads; ++h) {
    deal<Rows, pairs>(c.q + h * c.head_size, c.head_size, c.scale, q[h]);
  }
  chunk_logits<Rows, heads, pairs, whole>(c, q, begin, c.entries);
  for (uint32_t h = 0; c.bias != nullptr && h < heads; ++h) {
    add(c.logits + h * c.logits_stride, c.bias, c.entries);
  }
  const uint64_t weights_stride = (uint64_t{c.entries} + 15) / 16 * 16;
  for (uint32_t h = 0; h < heads; ++h) {
    const float* logits = c.logits + h * c.logits_stride;
    c.maximum[h] = max_of(logits, c.entries);
    c.sum[h] = exp_all(logits, c.entries, c.maximum[h], c.weights + h * weights_stride);
  }
  chunk_values<Rows, heads, pairs, whole>(c, weights_stride);
}

template <class Rows, uint32_t pairs, bool whole>
void attend_pairs(const AttendChunk& c) {
  switch (c.heads) {
    case 4:
      return attend_heads<Rows, 4, pairs, whole>(c);
    case 3:
      return attend_heads<Rows, 3, pairs, whole>(c);
    case 2:
      return attend_heads<Rows, 2, pairs, whole>(c);
    case 1:
      return attend_heads<Rows, 1, pairs, whole>(c);
    default:
      return;
  }
}

/// Heads of 64 and 128 elements have kernels of their own; every other size takes a padded one.
void attend_chunk(const AttendChunk& c) {
  if (c.element == KvElement::kF32) {
    if (c.head_size == 64) return attend_pairs<F32Rows, 64 / kPair, true>(c);
    if (c.head_size == 128) return attend_pairs<F32Rows, 128 / kPair, true>(c);
    return attend_pairs<F32Rows, kPairsMax, false>(c);
  }
  if (c.head_size == 64) return attend_pairs<Bf16Rows, 64 / kPair, true>(c);
  if (c.head_size == 128) return attend_pairs<Bf16Rows, 128 / kPair, true>(c);
  if (c.head_size <= 32) return attend_pairs<Bf16Rows, (32 + kPair - 1) / kPair, false>(c);
  if (c.head_size <= 96) return attend_pairs<Bf16Rows, 96 / kPair, false>(c);
  return attend_pairs<Bf16Rows, kPairsMax, false>(c);
}

}  // namespace
}  // namespace ebb::kernels::cpu
