// Encodes floats into the storage types of weights, plainly. The decoder under test is written from
// the same public block layouts but shares no code with this. Test support: knows nothing of files.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "models/gguf.h"

namespace ebb::testing {

/// Appends the little-endian bytes of a number.
template <class T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Nearest IEEE half, ties to even; overflow to infinity.
inline uint16_t to_half(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  float size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520.0f) return sign | 0x7c00;
  if (size < 0x1p-14f)  // subnormal: a multiple of 2^-24
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f)));
  uint32_t rounded = std::bit_cast<uint32_t>(size);
  rounded += 0xfff + ((rounded >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}

inline float from_half(uint16_t half) {
  uint32_t exponent = (half >> 10) & 31;
  float mantissa = static_cast<float>(half & 1023);
  float size = exponent == 0    ? mantissa * 0x1p-24f
               : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                : std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
  return (half & 0x8000) ? -size : size;
}

inline uint16_t to_bfloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// Q8_0: f16 scale, 32 signed bytes.
inline void append_q8_0(std::string& out, std::span<const float> block) {
  float largest = 0;
  for (float x : block) largest = std::max(largest, std::fabs(x));
  uint16_t scale = to_half(largest / 127);
  float step = from_half(scale);
  append_raw(out, scale);
  for (float x : block) {
    float code = step > 0 ? std::clamp(std::nearbyint(x / step), -127.0f, 127.0f) : 0;
    append_raw(out, static_cast<int8_t>(code));
  }
}

/// 32 codes of 4 bits: element i in the low half of byte i, element i + 16 in the high half.
template <class Code>
void append_nibbles(std::string& out, std::span<const float> block, Code code) {
  for (size_t i = 0; i < 16; ++i)
    append_raw(out, static_cast<uint8_t>(code(block[i]) | code(block[i + 16]) << 4));
}

/// Q4_0: f16 scale, 32 codes; value = scale * (code - 8).
inline void append_q4_0(std::string& out, std::span<const float> block) {
  float extreme = 0;  // the value of largest size, with its sign: it gets code 0
  for (float x : block)
    if (std::fabs(x) > std::fabs(extreme)) extreme = x;
  uint16_t scale = to_half(extreme / -8);
  float step = from_half(scale);
  append_raw(out, scale);
  append_nibbles(out, block, [step](float x) {
    if (step == 0) return 8;
    return static_cast<int>(std::clamp(std::nearbyint(x / step) + 8, 0.0f, 15.0f));
  });
}

/// Q4_1: f16 scale, f16 minimum, 32 codes; value = scale * code + minimum.
inline void append_q4_1(std::string& out, std::span<const float> block) {
  auto [least, most] = std::minmax_element(block.begin(), block.end());
  uint16_t scale = to_half((*most - *least) / 15);
  uint16_t minimum = to_half(*least);
  float step = from_half(scale), base = from_half(minimum);
  append_raw(out, scale);
  append_raw(out, minimum);
  append_nibbles(out, block, [step, base](float x) {
    if (step == 0) return 0;
    return static_cast<int>(std::clamp(std::nearbyint((x - base) / step), 0.0f, 15.0f));
  });
}

/// `values`: a whole number of blocks.
inline std::string encode_weights(models::WeightType type, std::span<const float> values) {
  using models::WeightType;
  const uint32_t block = models::block_elements(type);
  EBB_CHECK(values.size() % block == 0);
  std::string out;
  out.reserve(values.size() / block * models::block_bytes(type));
  for (size_t i = 0; i < values.size(); i += block) {
    std::span<const float> part = values.subspan(i, block);
    switch (type) {
      case WeightType::kF32:
        append_raw(out, part[0]);
        break;
      case WeightType::kF16:
        append_raw(out, to_half(part[0]));
        break;
      case WeightType::kBF16:
        append_raw(out, to_bfloat(part[0]));
        break;
      case WeightType::kQ8_0:
        append_q8_0(out, part);
        break;
      case WeightType::kQ4_0:
        append_q4_0(out, part);
        break;
      case WeightType::kQ4_1:
        append_q4_1(out, part);
        break;
      default:
        EBB_CHECK(!"no encoder for this type here");
    }
  }
  return out;
}

}  // namespace ebb::testing
