// Weights in their stored formats, expanded to f32 in registers: floats and the formats with blocks
// of 32 elements. Part of inner.cpp. Layouts: kernels/weight_format.h.
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

/// The fifth bits stand apart, 32 of them in four bytes.
EBB_INLINE Expanded expand_five_bits(const std::byte* nibbles, const std::byte* fifth,
                                     const Scale& scale) {
  if constexpr (kLanes == 16) {
    Expanded e = expand_nibbles(nibbles, scale);
    const Floats upper = splat(16.0f * scale.factor);
    e.part[0] = add_where(load_as<uint16_t>(fifth), e.part[0], upper);
    e.part[kStepVectors - 1] =
        add_where(load_as<uint16_t>(fifth + 2), e.part[kStepVectors - 1], upper);
    return e;
  }
  const Bytes16 packed = load_as<Bytes16>(nibbles);
  alignas(16) std::byte codes[kStep];
  store_as(codes, (packed & 15) | (spread_bits(fifth) & 16));
  store_as(codes + 16, (packed >> 4) | (spread_bits(fifth + 2) & 16));
  Expanded e;
  for (uint32_t i = 0; i < kStepVectors; ++i) {
    e.part[i] = to_floats(load_u8(codes + i * kLanes)) * scale.factor + scale.minimum;
  }
  return e;
}

struct Q5_0Format {
  static constexpr uint32_t kBytes = 22;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) {
    const float factor = load_f16_pair(from).first;
    return {factor, factor * -16.0f};
  }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    return expand_five_bits(from + 6, from + 2, scale);
  }
};

struct Q5_1Format {
  static constexpr uint32_t kBytes = 24;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) {
    const FloatPair pair = load_f16_pair(from);
    return {pair.first, pair.second};
  }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    return expand_five_bits(from + 8, from + 4, scale);
  }
};

struct IQ4_NLFormat {
  static constexpr uint32_t kBytes = 18;
  static constexpr bool kScaled = true;
  static EBB_INLINE Scale scale(const std::byte* from) { return {load_f16_pair(from).first, 0}; }
  static EBB_INLINE Expanded expand(const std::byte* from, const Scale& scale) {
    Expanded e;
    const Bytes16 values = load_as<Bytes16>(kIq4Values);
    if constexpr (kLanes == 16) {
      const Floats table =
          to_floats(load_i8(reinterpret_cast<const std::byte*>(kIq4Values))) * scale.factor;
      const Ints bytes = load_u8(from + 2);
      e.part[0] = __builtin_shuffle(table, bytes);
      e.part[kStepVectors - 1] = __builtin_shuffle(table, bytes >> 4);
      return e;
    }
    const Bytes16 packed = load_as<Bytes16>(from + 2);
    alignas(16) std::byte codes[kStep];
    store_as(codes, __builtin_shuffle(values, packed & 15));
    store_as(codes + 16, __builtin_shuffle(values, packed >> 4));
    for (uint32_t i = 0; i < kStepVectors; ++i) {
      e.part[i] = to_floats(load_i8(codes + i * kLanes)) * scale.factor;
    }
    return e;
  }
};

template <class Format>
concept HasTail = requires(const std::byte* from) {
  Format::scalar(from);
};

/// Steps whose scales are converted ahead. A scale that comes from memory is broadcast by the load;
/// converted in place it would cost two more shuffles a block, on the port that is busy already.
constexpr uint32_t kScalesAhead = 64;

/// `count` elements, whole blocks (or any number, of a float format), to f32.
template <class Format>
void expand_elements(const std::byte* from, uint64_t count, float* out) {
  const uint64_t steps = count / kStep;
  Scale scales[kScalesAhead];
  for (uint64_t begin = 0; begin < steps; begin += kScalesAhead) {
    const uint64_t end = begin + kScalesAhead < steps ? begin + kScalesAhead : steps;
    for (uint64_t s = begin; s < end; ++s) {
      scales[s - begin] = Format::scale(from + s * Format::kBytes);
    }
    for (uint64_t s = begin; s < end; ++s) {
      const Expanded e = Format::expand(from + s * Format::kBytes, scales[s - begin]);
      for (uint32_t v = 0; v < kStepVectors; ++v) store(out + s * kStep + v * kLanes, e.part[v]);
    }
  }
  if constexpr (HasTail<Format>) {
    constexpr uint32_t element = Format::kBytes / kStep;
    for (uint64_t k = steps * kStep; k < count; ++k) out[k] = Format::scalar(from + k * element);
  }
}

}  // namespace
}  // namespace ebb::kernels::cpu
