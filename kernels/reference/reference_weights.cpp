// See reference_weights.h. One function per format, as weight_format.h describes them; nothing is
// shared with the backends that this judges.
#include "kernels/reference/reference_weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace ebb::kernels {
namespace {

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float half_at(const std::byte* from) { return f16_to_float(read<uint16_t>(from)); }

/// Field of `width` bits at bit `shift` of a byte.
int bits(std::byte from, uint32_t shift, uint32_t width) {
  return (std::to_integer<int>(from) >> shift) & ((1 << width) - 1);
}

/// Code of element `e` among the 16 bytes of nibbles of a block of 32.
int nibble(const std::byte* from, uint32_t e) { return bits(from[e % 16], e < 16 ? 0 : 4, 4); }

int with_fifth(const std::byte* fifth, int low, uint32_t e) {
  return low | bits(fifth[e / 8], e % 8, 1) << 4;
}

float q5_0(const std::byte* block, uint32_t e) {
  const int q = with_fifth(block + 2, nibble(block + 6, e), e);
  return half_at(block) * static_cast<float>(q - 16);
}

float q5_1(const std::byte* block, uint32_t e) {
  const int q = with_fifth(block + 4, nibble(block + 8, e), e);
  return half_at(block) * static_cast<float>(q) + half_at(block + 2);
}

float iq4_nl(const std::byte* block, uint32_t e) {
  return half_at(block) * static_cast<float>(kIq4Values[nibble(block + 2, e)]);
}

float q2_k(const std::byte* block, uint32_t e) {
  const std::byte run = block[e / 16];
  const float scale = half_at(block + 80) * static_cast<float>(bits(run, 0, 4));
  const float minimum = half_at(block + 82) * static_cast<float>(bits(run, 4, 4));
  const int q = bits(block[16 + e / 128 * 32 + e % 32], e % 128 / 32 * 2, 2);
  return scale * static_cast<float>(q) - minimum;
}

float q3_k(const std::byte* block, uint32_t e) {
  const uint32_t run = e / 16;
  const std::byte* scales = block + 96;
  const int s =
      bits(scales[run % 8], run < 8 ? 0 : 4, 4) | bits(scales[8 + run % 4], run / 4 * 2, 2) << 4;
  const float scale = half_at(block + 108) * static_cast<float>(s - 32);
  const int q = bits(block[32 + e / 128 * 32 + e % 32], e % 128 / 32 * 2, 2) |
                bits(block[e % 32], e / 32, 1) << 2;
  return scale * static_cast<float>(q - 4);
}

/// What Q4_K and Q5_K share: d, m and the 12 bytes of packed scales.
float scaled_run(const std::byte* block, uint32_t run, int q) {
  const std::byte* scales = block + 4;
  int s, t;
  if (run < 4) {
    s = bits(scales[run], 0, 6);
    t = bits(scales[run + 4], 0, 6);
  } else {
    s = bits(scales[run + 4], 0, 4) | bits(scales[run - 4], 6, 2) << 4;
    t = bits(scales[run + 4], 4, 4) | bits(scales[run], 6, 2) << 4;
  }
  const float scale = half_at(block) * static_cast<float>(s);
  const float minimum = half_at(block + 2) * static_cast<float>(t);
  return scale * static_cast<float>(q) - minimum;
}

float q4_k(const std::byte* block, uint32_t e) {
  const int q = bits(block[16 + e / 64 * 32 + e % 32], e % 64 < 32 ? 0 : 4, 4);
  return scaled_run(block, e / 32, q);
}

float q5_k(const std::byte* block, uint32_t e) {
  const int low = bits(block[48 + e / 64 * 32 + e % 32], e % 64 < 32 ? 0 : 4, 4);
  return scaled_run(block, e / 32, low | bits(block[16 + e % 32], e / 32, 1) << 4);
}

float q6_k(const std::byte* block, uint32_t e) {
  const float scale = half_at(block + 208) * static_cast<float>(read<int8_t>(block + 192 + e / 16));
  const int low = bits(block[e / 128 * 64 + e % 64], e % 128 < 64 ? 0 : 4, 4);
  const int upper = bits(block[128 + e / 128 * 32 + e % 32], e % 128 / 32 * 2, 2);
  return scale * static_cast<float>((low | upper << 4) - 32);
}

}  // namespace

float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

float f16_to_float(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    const double special = fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                                         : std::numeric_limits<double>::infinity();
    return static_cast<float>(sign * special);
  }
  if (exponent == 0) return static_cast<float>(sign * std::ldexp(fraction, -24));
  return static_cast<float>(sign * std::ldexp(1024 + fraction, exponent - 25));
}

float weight_element(WeightFormat format, const std::byte* block, uint32_t e) {
  switch (format) {
    case WeightFormat::kF32:
      return read<float>(block);
    case WeightFormat::kF16:
      return half_at(block);
    case WeightFormat::kBF16:
      return bf16_to_float(read<uint16_t>(block));
    case WeightFormat::kQ8_0:
      return half_at(block) * static_cast<float>(read<int8_t>(block + 2 + e));
    case WeightFormat::kQ4_0:
      return half_at(block) * static_cast<float>(nibble(block + 2, e) - 8);
    case WeightFormat::kQ4_1:
      return half_at(block) * static_cast<float>(nibble(block + 4, e)) + half_at(block + 2);
    case WeightFormat::kQ5_0:
      return q5_0(block, e);
    case WeightFormat::kQ5_1:
      return q5_1(block, e);
    case WeightFormat::kQ2_K:
      return q2_k(block, e);
    case WeightFormat::kQ3_K:
      return q3_k(block, e);
    case WeightFormat::kQ4_K:
      return q4_k(block, e);
    case WeightFormat::kQ5_K:
      return q5_k(block, e);
    case WeightFormat::kQ6_K:
      return q6_k(block, e);
    case WeightFormat::kIQ4_NL:
      return iq4_nl(block, e);
  }
  EBB_CHECK(false);
}

}  // namespace ebb::kernels
