// Products with weights that stay in their stored format, and their conversion to f32. Part of
// inner.cpp.
//
// A thread owns a range of weight rows. A block of 32 weights is expanded in registers (scale and
// minimum applied), then multiplied with every row of x while it is there. A row's sum is one
// vector of partial sums over the blocks in ascending order, folded by a fixed tree: its bits
// depend on nothing but its own inputs.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kStep = 32;  // elements expanded at a time, in every format
constexpr uint32_t kStepVectors = kStep / kLanes;

struct Expanded {
  Floats part[kStepVectors];
};

/// What the scale fields of a block say, as floats.
struct Scale {
  float factor;
  float minimum;
};

struct F32Format {
  static constexpr uint32_t kBytes = 128;
  static constexpr bool kScaled = false;
  static EBB_INLINE Scale scale(const std::byte*) { return {}; }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale&) {
    Expanded e;
    for (uint32_t i = 0; i < kStepVectors; ++i) e.part[i] = load_as<Floats>(from + i * kLanes * 4);
    return e;
  }
  static EBB_INLINE float scalar(const std::byte* from) { return load_as<float>(from); }
};

struct F16Format {
  static constexpr uint32_t kBytes = 64;
  static constexpr bool kScaled = false;
  static EBB_INLINE Scale scale(const std::byte*) { return {}; }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale&) {
    Expanded e;
    for (uint32_t i = 0; i < kStepVectors; ++i) e.part[i] = load_f16(from + i * kLanes * 2);
    return e;
  }
  static EBB_INLINE float scalar(const std::byte* from) { return load_f16_scalar(from); }
};

struct BF16Format {
  static constexpr uint32_t kBytes = 64;
  static constexpr bool kScaled = false;
  static EBB_INLINE Scale scale(const std::byte*) { return {}; }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale&) {
    Expanded e;
    for (uint32_t i = 0; i < kStepVectors; ++i) e.part[i] = load_bf16(from + i * kLanes * 2);
    return e;
  }
  static EBB_INLINE float scalar(const std::byte* from) {
    const uint32_t bits = uint32_t{load_as<uint16_t>(from)} << 16;
    return load_as<float>(&bits);
  }
};

struct Q8_0Format {
  static constexpr uint32_t kBytes = 34;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) { return {load_f16_pair(from).first, 0}; }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    Expanded e;
    for (uint32_t i = 0; i < kStepVectors; ++i) {
      e.part[i] = to_floats(load_i8(from + 2 + i * kLanes)) * scale.factor;
    }
    return e;
  }
};

/// Low nibbles are elements 0-15, high nibbles 16-31. With 16 lanes one permutation of the table of
/// all 16 possible values replaces mask, conversion and multiply-add.
EBB_INLINE Expanded expand_nibbles(const std::byte* from, const Scale& scale) {
  Expanded e;
  if constexpr (kLanes == 16) {
    const Floats table = to_floats(lane_numbers()) * scale.factor + scale.minimum;
    const Ints bytes = load_u8(from);
    e.part[0] = __builtin_shuffle(table, bytes);
    e.part[kStepVectors - 1] = __builtin_shuffle(table, bytes >> 4);
    return e;
  }
  for (uint32_t i = 0; i < kStepVectors / 2; ++i) {
    const Ints bytes = load_u8(from + i * kLanes);
    e.part[i] = to_floats(bytes & 15) * scale.factor + scale.minimum;
    e.part[i + kStepVectors / 2] = to_floats(bytes >> 4) * scale.factor + scale.minimum;
  }
  return e;
}

struct Q4_0Format {
  static constexpr uint32_t kBytes = 18;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) {
    const float factor = load_f16_pair(from).first;
    return {factor, factor * -8.0f};
  }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    return expand_nibbles(from + 2, scale);
  }
};

struct Q4_1Format {
  static constexpr uint32_t kBytes = 20;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) {
    const FloatPair pair = load_f16_pair(from);
    return {pair.first, pair.second};
  }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    return expand_nibbles(from + 4, scale);
  }
};

template <class Format>
concept HasTail = requires(const std::byte* from) {
  Format::scalar(from);
};

/// Steps whose scales are converted ahead. A scale that comes from memory is broadcast by the load;
/// converted in place it would cost two more shuffles a block, on the port that is busy already.
constexpr uint32_t kScalesAhead = 64;

/// `weight_rows` weight rows from row `n` on against `x_rows` rows of x.
template <class Format, uint32_t weight_rows, uint32_t x_rows>
EBB_INLINE void gemv_rows(const GemvTask& t, uint64_t n, uint32_t first_x) {
  const uint64_t steps = t.columns / kStep;
  const std::byte* weight = t.weight + n * t.weight_stride;
  const float* x = t.x + first_x * t.columns;
  Floats sums[weight_rows][x_rows] = {};
  Scale scales[weight_rows][kScalesAhead];
  for (uint64_t begin = 0; begin < steps; begin += kScalesAhead) {
    const uint64_t end = begin + kScalesAhead < steps ? begin + kScalesAhead : steps;
    if constexpr (Format::kScaled) {
      for (uint32_t i = 0; i < weight_rows; ++i) {
        const std::byte* from = weight + i * t.weight_stride;
        for (uint64_t s = begin; s < end; ++s) {
          scales[i][s - begin] = Format::scale(from + s * Format::kBytes);
        }
      }
    }
    for (uint64_t s = begin; s < end; ++s) {
      Expanded w[weight_rows];
#pragma GCC unroll 8
      for (uint32_t i = 0; i < weight_rows; ++i) {
        w[i] =
            Format::expand(weight + i * t.weight_stride + s * Format::kBytes, scales[i][s - begin]);
      }
#pragma GCC unroll 8
      for (uint32_t r = 0; r < x_rows; ++r) {
#pragma GCC unroll 8
        for (uint32_t v = 0; v < kStepVectors; ++v) {
          Floats values = load(x + r * t.columns + s * kStep + v * kLanes);
          if constexpr (weight_rows > 1) keep_in_register(values);
#pragma GCC unroll 8
          for (uint32_t i = 0; i < weight_rows; ++i) sums[i][r] += w[i].part[v] * values;
        }
      }
    }
  }
  for (uint32_t i = 0; i < weight_rows; ++i) {
    for (uint32_t r = 0; r < x_rows; ++r) {
      float sum = sum_lanes(sums[i][r]);
      if constexpr (HasTail<Format>) {
        constexpr uint32_t element = Format::kBytes / kStep;
        for (uint64_t k = steps * kStep; k < t.columns; ++k) {
          sum += Format::scalar(weight + i * t.weight_stride + k * element) * x[r * t.columns + k];
        }
      }
      t.out[(first_x + r) * t.out_stride + n + i] = sum;
    }
  }
}

/// Weight rows taken together: enough independent sums to hide the latency of a multiply-add, few
/// enough to stay in registers (32 with AVX-512, 16 before).
template <class Format, uint32_t x_rows>
void gemv_panel(const GemvTask& t, uint32_t first_x) {
  constexpr uint32_t together = x_rows == 1                   ? 4
                                : kLanes == 16 && x_rows == 2 ? 4
                                : kLanes == 16 || x_rows == 2 ? 2
                                                              : 1;
  uint64_t n = t.row_begin;
  for (; n + together <= t.row_end; n += together)
    gemv_rows<Format, together, x_rows>(t, n, first_x);
  for (; n < t.row_end; ++n) gemv_rows<Format, 1, x_rows>(t, n, first_x);
}

template <class Format>
void gemv_format(const GemvTask& t) {
  uint32_t done = 0;
  while (t.rows - done >= 8) gemv_panel<Format, 8>(t, done), done += 8;
  while (t.rows - done >= 4) gemv_panel<Format, 4>(t, done), done += 4;
  while (t.rows - done >= 2) gemv_panel<Format, 2>(t, done), done += 2;
  while (t.rows - done >= 1) gemv_panel<Format, 1>(t, done), done += 1;
}

void gemv(const GemvTask& t) {
  switch (t.format) {
    case WeightFormat::kF32:
      return gemv_format<F32Format>(t);
    case WeightFormat::kF16:
      return gemv_format<F16Format>(t);
    case WeightFormat::kBF16:
      return gemv_format<BF16Format>(t);
    case WeightFormat::kQ8_0:
      return gemv_format<Q8_0Format>(t);
    case WeightFormat::kQ4_0:
      return gemv_format<Q4_0Format>(t);
    case WeightFormat::kQ4_1:
      return gemv_format<Q4_1Format>(t);
  }
}

template <class Format>
void dequantize_format(const std::byte* from, uint64_t count, float* out) {
  const uint64_t steps = count / kStep;
  for (uint64_t s = 0; s < steps; ++s) {
    const std::byte* block = from + s * Format::kBytes;
    const Expanded e = Format::expand(block, Format::scale(block));
    for (uint32_t v = 0; v < kStepVectors; ++v) store(out + s * kStep + v * kLanes, e.part[v]);
  }
  if constexpr (HasTail<Format>) {
    constexpr uint32_t element = Format::kBytes / kStep;
    for (uint64_t k = steps * kStep; k < count; ++k) out[k] = Format::scalar(from + k * element);
  }
}

void dequantize(WeightFormat format, const std::byte* from, uint64_t count, float* out) {
  switch (format) {
    case WeightFormat::kF32:
      return dequantize_format<F32Format>(from, count, out);
    case WeightFormat::kF16:
      return dequantize_format<F16Format>(from, count, out);
    case WeightFormat::kBF16:
      return dequantize_format<BF16Format>(from, count, out);
    case WeightFormat::kQ8_0:
      return dequantize_format<Q8_0Format>(from, count, out);
    case WeightFormat::kQ4_0:
      return dequantize_format<Q4_0Format>(from, count, out);
    case WeightFormat::kQ4_1:
      return dequantize_format<Q4_1Format>(from, count, out);
  }
}

}  // namespace
}  // namespace ebb::kernels::cpu
