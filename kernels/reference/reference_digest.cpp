#include "kernels/reference/reference_digest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/reference/reference_weights.h"

namespace ebb::kernels {
namespace {

constexpr double kHalfMax = 65504;

/// The nearest binary16, ties to even, at most kHalfMax in size.
uint16_t to_half(double value) {
  const double size = std::min(std::abs(value), kHalfMax);
  const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  // Below 2^-14 the step between two halves stays that of 2^-14.
  const int exponent = std::max(size > 0 ? std::ilogb(size) : -14, -14);
  const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  // A fraction that rounds up to 2048 carries into the exponent, as it should.
  const uint32_t bits = steps + (static_cast<uint32_t>(exponent + 14) << 10);
  return static_cast<uint16_t>(sign | bits);
}

double half_at(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return f16_to_float(bits);
}

/// Where some bits of element j's code stand.
struct Field {
  uint32_t byte;   ///< behind scale and zero
  uint32_t shift;  ///< within the byte
  uint32_t bits;
  uint32_t code_shift;  ///< within the code
};

std::vector<Field> fields_of(const DigestShape& digest, uint32_t j) {
  const uint32_t unit = j / kDigestUnit;
  const uint32_t i = j % kDigestUnit;
  const Field two{unit * 8 + i % 8, i / 8 * 2, 2, 0};
  switch (digest.format) {
    case DigestFormat::kInt4:
      return {{unit * 16 + i % 16, i / 16 * 4, 4, 0}};
    case DigestFormat::kH2:
      return {two};
    case DigestFormat::kH3:
      return {{two.byte, two.shift, 2, 1}, {digest.units() * 8 + unit * 4 + i % 4, i / 4, 1, 0}};
  }
  return {};
}

uint32_t largest_code(DigestFormat format) {
  return format == DigestFormat::kInt4 ? 15 : format == DigestFormat::kH3 ? 7 : 3;
}

}  // namespace

std::vector<double> turned(DigestFormat format, const std::vector<double>& values) {
  if (format == DigestFormat::kInt4) return values;
  const size_t run = values.size() & ~(values.size() - 1);  // the lowest bit that is set
  std::vector<double> result(values.size(), 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t first = i / run * run;
    for (size_t j = first; j < first + run; ++j) {
      const bool negative = (kDigestSigns[j / 64] >> j % 64 & 1) != 0;
      const bool odd = std::popcount((i - first) & (j - first)) % 2 != 0;
      result[i] += negative != odd ? -values[j] : values[j];
    }
    result[i] /= std::sqrt(static_cast<double>(run));
  }
  return result;
}

void encode_digest(const DigestShape& digest, const std::vector<double>& values, std::byte* to) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double levels = largest_code(digest.format);
  const uint16_t halves[2] = {to_half((*most - *least) / levels), to_half(*least)};
  std::memset(to, 0, digest.head_bytes());
  std::memcpy(to, halves, sizeof halves);
  const double scale = half_at(to);
  const double zero = half_at(to + 2);
  for (uint32_t j = 0; j < digest.head_size; ++j) {
    const double code = scale == 0 ? 0 : std::nearbyint((values[j] - zero) / scale);
    const auto c = static_cast<uint32_t>(std::clamp(code, 0.0, levels));
    for (const Field& field : fields_of(digest, j)) {
      const uint32_t part = c >> field.code_shift & ((1u << field.bits) - 1);
      to[4 + field.byte] |= static_cast<std::byte>(part << field.shift);
    }
  }
}

std::vector<double> decode_digest(const DigestShape& digest, const std::byte* from) {
  std::vector<double> values(digest.head_size);
  for (uint32_t j = 0; j < digest.head_size; ++j) {
    uint32_t code = 0;
    for (const Field& field : fields_of(digest, j)) {
      const uint32_t byte = std::to_integer<uint32_t>(from[4 + field.byte]);
      code |= (byte >> field.shift & ((1u << field.bits) - 1)) << field.code_shift;
    }
    values[j] = half_at(from + 2) + half_at(from) * code;
  }
  return values;
}

}  // namespace ebb::kernels
