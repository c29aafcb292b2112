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

EBB_INLINE Floats silu(Floats gate) { return gate / (1.0f + exp_of(-gate)); }

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

void from_bf16(const std::byte* from, uint64_t count, float scale, float* out) {
  uint64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load_bf16(from + 2 * i) * scale);
  for (; i < count; ++i) {
    const uint32_t bits = uint32_t{load_as<uint16_t>(from + 2 * i)} << 16;
    out[i] = load_as<float>(&bits) * scale;
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
    store_some(scores + i, exp_of(best), left);
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

/// weights[i] = exp(values[i] - most), 0 from `count` to the next whole vector; returns the sum.
EBB_INLINE float exp_all(const float* values, uint32_t count, float most, float* weights) {
  Floats sum = {};
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats weight = exp_of(load(values + i) - most);
    store(weights + i, weight);
    sum += weight;
  }
  if (i < count) {
    const Floats weight = exp_of(load_some(values + i, count - i) - most);
    const Floats kept =
        lane_numbers() < splat_int(static_cast<int32_t>(count - i)) ? weight : Floats{};
    store(weights + i, kept);
    sum += kept;
  }
  return sum_lanes(sum);
}

void softmax_row(const SoftmaxRow& row) {
  // A row with nothing valid in this tile stays as it is.
  if (row.valid > 0) {
    const float found = max_of(row.scores, row.valid);
    const float most = found > *row.maximum ? found : *row.maximum;
    const float rescale = exp_of(splat(*row.maximum - most))[0];
    *row.sum = *row.sum * rescale + exp_all(row.scores, row.valid, most, row.scores);
    if (rescale != 1.0f) {
      for (uint32_t j = 0; j < row.head_size; ++j) row.out[j] *= rescale;
    }
    *row.maximum = most;
  }
  for (uint32_t i = row.valid; i < row.columns; ++i) row.scores[i] = 0;
}

}  // namespace
}  // namespace ebb::kernels::cpu
