// Elementwise loops and the online softmax of a score row. Part of inner.cpp.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

void rms_norm(const float* x, const float* gain, uint64_t count, float epsilon, float* out) {
  Floats squares[2] = {};
  uint64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const Floats a = load(x + i);
    const Floats b = load(x + i + kLanes);
    squares[0] += a * a;
    squares[1] += b * b;
  }
  float sum = sum_lanes(squares[0] + squares[1]);
  for (; i < count; ++i) sum += x[i] * x[i];
  const float factor = 1.0f / __builtin_sqrtf(sum / static_cast<float>(count) + epsilon);
  for (i = 0; i + kLanes <= count; i += kLanes) {
    store(out + i, load(x + i) * factor * load(gain + i));
  }
  for (; i < count; ++i) out[i] = x[i] * factor * gain[i];
}

void add(float* x, const float* y, uint64_t count) {
  uint64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(x + i, load(x + i) + load(y + i));
  for (; i < count; ++i) x[i] += y[i];
}

void scale_add(float* x, float scale, const float* y, float weight, uint64_t count) {
  uint64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    store(x + i, load(x + i) * scale + load(y + i) * weight);
  }
  for (; i < count; ++i) x[i] = x[i] * scale + y[i] * weight;
}

/// Up to kLanes floats, the rest zero; and back. For the ends of rows.
EBB_INLINE Floats load_some(const float* from, uint64_t count) {
  Floats value = {};
  __builtin_memcpy(&value, from, count * sizeof(float));
  return value;
}
EBB_INLINE void store_some(float* to, Floats value, uint64_t count) {
  __builtin_memcpy(to, &value, count * sizeof(float));
}

EBB_INLINE Floats silu(Floats gate) {
  return gate / (1.0f + exp_of(-larger(gate, splat(-kExpMax))));
}

void silu_mul(const float* gate, const float* up, uint64_t count, float* out) {
  uint64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, silu(load(gate + i)) * load(up + i));
  if (i < count) {
    const uint64_t left = count - i;
    store_some(out + i, silu(load_some(gate + i, left)) * load_some(up + i, left), left);
  }
}

/// Nearest, ties to even. A NaN keeps its top bits and is made quiet: rounding could turn it into
/// infinity.
EBB_INLINE uint16_t bf16_bits(uint32_t bits) {
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

void to_bf16(const float* from, uint64_t count, std::byte* out) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint16_t bits = bf16_bits(load_as<uint32_t>(from + i));
    store_as(out + 2 * i, bits);
  }
}

EBB_INLINE void from_bf16(const std::byte* from, uint32_t count, float* out) {
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load_bf16(from + 2 * i));
  for (; i < count; ++i) {
    const uint32_t bits = uint32_t{load_as<uint16_t>(from + 2 * i)} << 16;
    out[i] = load_as<float>(&bits);
  }
}

void expand_rows(const std::byte* const* rows, uint32_t count, KvElement element,
                 uint32_t head_size, float* k, float* v) {
  if (element == KvElement::kF32) {
    const uint64_t bytes = uint64_t{head_size} * sizeof(float);
    for (uint64_t e = 0; e < count; ++e) {
      __builtin_memcpy(k + e * head_size, rows[e], bytes);
      __builtin_memcpy(v + e * head_size, rows[e] + bytes, bytes);
    }
    return;
  }
  for (uint64_t e = 0; e < count; ++e) {
    from_bf16(rows[e], head_size, k + e * head_size);
    from_bf16(rows[e] + 2 * head_size, head_size, v + e * head_size);
  }
}

void score_max(const float* logits, uint64_t stride, const float* lse, uint32_t heads,
               uint64_t count, float* scores) {
  // exp is monotonic: one of the largest difference, instead of one per head.
  for (uint64_t i = 0; i < count; i += kLanes) {
    const uint64_t left = count - i < kLanes ? count - i : kLanes;
    Floats best = splat(-__builtin_inff());
    for (uint32_t h = 0; h < heads; ++h) {
      const float* row = logits + h * stride + i;
      const Floats values = left == kLanes ? load(row) : load_some(row, left);
      best = larger(values - lse[h], best);
    }
    store_some(scores + i, exp_of(smaller(best, splat(kExpMax))), left);
  }
}

/// Largest of values[0, count); count >= 1.
EBB_INLINE float max_of(const float* values, uint32_t count) {
  Floats most = splat(-__builtin_inff());
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) most = larger(load(values + i), most);
  float result = max_lanes(most);
  for (; i < count; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

/// weights[i] = exp(values[i] - most), and nothing past `count`; returns the sum.
EBB_INLINE float exp_all(const float* values, uint32_t count, float most, float* weights) {
  Floats sums[2] = {};
  uint32_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const Floats a = exp_of(load(values + i) - most);
    const Floats b = exp_of(load(values + i + kLanes) - most);
    store(weights + i, a);
    store(weights + i + kLanes, b);
    sums[0] += a;
    sums[1] += b;
  }
  for (; i < count; i += kLanes) {
    const uint32_t left = count - i < kLanes ? count - i : kLanes;
    Floats weight = exp_of(load_some(values + i, left) - most);
    weight = lane_numbers() < splat_int(static_cast<int32_t>(left)) ? weight : Floats{};
    store_some(weights + i, weight, left);
    sums[0] += weight;
  }
  return sum_lanes(sums[0] + sums[1]);
}

/// Three passes over the rows of the tile rather than one: the reductions of one row then overlap
/// with the next row's work instead of waiting for each other.
void softmax_tile(const SoftmaxTile& t) {
  constexpr uint32_t kBatch = 64;
  for (uint32_t first = 0; first < t.rows; first += kBatch) {
    const uint32_t rows = t.rows - first < kBatch ? t.rows - first : kBatch;
    alignas(64) float rescale[kBatch] = {};
    for (uint32_t i = 0; i < rows; ++i) {
      const uint64_t r = first + i;
      const float most = t.maximum[r];
      // A row that sees nothing of this tile stays as it is: exp(0) = 1. (-inf minus -inf would be
      // NaN.)
      if (t.begin[r] == t.end[r]) continue;
      const float found = max_of(t.scores + r * t.stride + t.begin[r], t.end[r] - t.begin[r]);
      t.maximum[r] = found > most ? found : most;
      rescale[i] = most - t.maximum[r];
    }
    for (uint32_t i = 0; i < kBatch; i += kLanes) store(rescale + i, exp_of(load(rescale + i)));
    for (uint32_t i = 0; i < rows; ++i) {
      const uint64_t r = first + i;
      float* scores = t.scores + r * t.stride;
      const uint32_t seen = t.end[r] - t.begin[r];
      float* within = scores + t.begin[r];
      const float added = seen == 0 ? 0.0f : exp_all(within, seen, t.maximum[r], within);
      t.sum[r] = t.sum[r] * rescale[i] + added;
      for (uint32_t c = 0; c < t.begin[r]; ++c) scores[c] = 0;
      for (uint32_t c = t.end[r]; c < t.columns; ++c) scores[c] = 0;
      if (rescale[i] == 1.0f) continue;
      for (uint32_t j = 0; j < t.head_size; ++j) t.out[r * t.head_size + j] *= rescale[i];
    }
  }
}

}  // namespace
}  // namespace ebb::kernels::cpu
