// Digests (kernels/digest.h): one head coded, and one chunk of them against a query. Part of
// inner.cpp.
//
// The scan multiplies integers: the query is rounded to 8 bits, or to 16 in two parts where the
// codes have 4 bits, and 32 codes are multiplied and added in pairs by one instruction. What the
// rounding of q costs is a fraction of what the digest itself does: against codes centred at the
// middle of their range, to which the bias brings them, it is below 4.6 / 127 of the largest
// element of q where a step of the digest costs 1 / 3.5 of the root mean square one.
//
// Vectors are of 32 bytes with AVX-512 too: a unit of codes fills one, and wider ones would need a
// second layout of the folds. Without AVX2 the scan is plain loops.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/inner_elementwise.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

/// Largest code of a format.
EBB_INLINE float levels_of(DigestFormat format) {
  return format == DigestFormat::kInt4 ? 15.0f : format == DigestFormat::kH3 ? 7.0f : 3.0f;
}

/// To binary16, nearest even, at most 65504 in size (a NaN too).
EBB_INLINE uint16_t f16_bits(float value) {
  const uint32_t bits = load_as<uint32_t>(&value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  const float size = load_as<float>(&magnitude);
  if (!(size < 65504.0f)) return static_cast<uint16_t>(sign | 0x7bff);
  // Below 2^-14 the step stays the same.
  if (size < 0x1p-14f) {
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(__builtin_rintf(size * 0x1p24f)));
  }
  const uint32_t rounded = (magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13;
  return static_cast<uint16_t>(sign | (rounded - (112u << 10)));
}

/// Sums and differences only, then one product: the same bits on every instruction set.
void turn_head(float* x, uint32_t head_size) {
  const uint32_t run = head_size & (~head_size + 1);
  for (uint32_t j = 0; j < head_size; ++j) {
    x[j] = (kDigestSigns[j / 64] >> j % 64 & 1) != 0 ? -x[j] : x[j];
  }
  for (uint32_t step = 1; step < run; step *= 2) {
    for (uint32_t i = 0; i < head_size; i += 2 * step) {
      for (uint32_t j = i; j < i + step; ++j) {
        const float a = x[j];
        const float b = x[j + step];
        x[j] = a + b;
        x[j + step] = a - b;
      }
    }
  }
  const float norm = 1.0f / __builtin_sqrtf(static_cast<float>(run));
  for (uint32_t j = 0; j < head_size; ++j) x[j] *= norm;
}

struct Span {
  float least;
  float most;
};
EBB_INLINE Span span_of(const float* x, uint32_t count) {
  Span span = {x[0], x[0]};
  for (uint32_t j = 1; j < count; ++j) {
    span.least = x[j] < span.least ? x[j] : span.least;
    span.most = x[j] > span.most ? x[j] : span.most;
  }
  return span;
}

void encode_digest(DigestFormat format, const float* x, uint32_t head_size, std::byte* to) {
  const float levels = levels_of(format);
  const Span span = span_of(x, head_size);
  const uint16_t halves[2] = {f16_bits((span.most - span.least) / levels), f16_bits(span.least)};
  __builtin_memcpy(to, halves, sizeof halves);
  const float scale = load_f16_scalar(to);
  const float zero = load_f16_scalar(to + 2);
  uint8_t codes[kHeadSizeMax] = {};
  for (uint32_t j = 0; scale > 0 && j < head_size; ++j) {
    float code = (x[j] - zero) / scale;
    code = code > 0 ? code : 0;
    code = code < levels ? code : levels;
    codes[j] = static_cast<uint8_t>(__builtin_rintf(code));
  }
  const uint32_t units = (head_size + kDigestUnit - 1) / kDigestUnit;
  uint8_t packed[kHeadSizeMax / 2] = {};
  uint32_t bytes = 0;
  for (uint32_t u = 0; u < units; ++u) {
    const uint8_t* c = codes + u * kDigestUnit;
    if (format == DigestFormat::kInt4) {
      for (uint32_t i = 0; i < 16; ++i) {
        packed[bytes++] = static_cast<uint8_t>(c[i] | c[i + 16] << 4);
      }
      continue;
    }
    const uint32_t low = format == DigestFormat::kH3 ? 1 : 0;
    for (uint32_t i = 0; i < 8; ++i) {
      packed[bytes++] = static_cast<uint8_t>(c[i] >> low | (c[i + 8] >> low) << 2 |
                                             (c[i + 16] >> low) << 4 | (c[i + 24] >> low) << 6);
    }
  }
  for (uint32_t u = 0; format == DigestFormat::kH3 && u < units; ++u) {
    for (uint32_t i = 0; i < 4; ++i, ++bytes) {
      for (uint32_t b = 0; b < 8; ++b) {
        packed[bytes] |= static_cast<uint8_t>((codes[u * kDigestUnit + b * 4 + i] & 1) << b);
      }
    }
  }
  __builtin_memcpy(to + 4, packed, bytes);
}

/// Rounds one head's query, turned if its format wants it. `parts` [parts][units * 32]: for kInt4
/// q ~ factor (128 a + b), else q ~ factor a.
DigestQuery round_query(DigestFormat format, const float* q, uint32_t head_size, float scale,
                        std::byte* parts) {
  float x[kHeadSizeMax];
  __builtin_memcpy(x, q, head_size * sizeof(float));
  if (format != DigestFormat::kInt4) turn_head(x, head_size);
  const Span span = span_of(x, head_size);
  const float most = -span.least > span.most ? -span.least : span.most;
  const float range = format == DigestFormat::kInt4 ? 127.0f * 128.0f : 127.0f;
  const float factor = most / range;
  const uint32_t padded = (head_size + kDigestUnit - 1) / kDigestUnit * kDigestUnit;
  int32_t rounded_sum = 0;
  float sum = 0;
  for (uint32_t j = 0; j < padded; ++j) {
    float value = j < head_size && factor > 0 ? x[j] / factor : 0;
    value = value > -range ? value : -range;
    value = value < range ? value : range;
    const auto n = static_cast<int32_t>(__builtin_rintf(value));
    rounded_sum += n;
    sum += j < head_size ? x[j] : 0;
    if (format == DigestFormat::kInt4) {
      const int32_t upper = (n + 64) >> 7;
      parts[j] = static_cast<std::byte>(upper);
      parts[padded + j] = static_cast<std::byte>(n - upper * 128);
    } else {
      parts[j] = static_cast<std::byte>(n);
    }
  }
  const float lost = sum - static_cast<float>(rounded_sum) * factor;
  return {factor * scale, 0.5f * levels_of(format) * lost * scale, sum * scale};
}

#if defined(__AVX2__)

typedef uint8_t UnitBytes __attribute__((vector_size(32)));
typedef int16_t UnitShorts __attribute__((vector_size(32)));
typedef uint32_t UnitWords __attribute__((vector_size(32)));
typedef uint64_t UnitQuads __attribute__((vector_size(32)));
typedef int32_t TokenInts __attribute__((vector_size(32)));
typedef float TokenFloats __attribute__((vector_size(32)));

constexpr uint32_t kScanTokens = 8;  // scored together

/// Pairs of products of unsigned and signed bytes, added: at most 2 * 15 * 127 in size, eight of
/// which a short holds.
EBB_INLINE UnitShorts multiply_add(UnitBytes codes, UnitBytes q) {
  return reinterpret_cast<UnitShorts>(
      _mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(q)));
}

/// Neighbours times `factor`, added.
EBB_INLINE TokenInts widen_pairs(UnitShorts sums, int16_t factor) {
  return reinterpret_cast<TokenInts>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(sums), _mm256_set1_epi16(factor)));
}

/// Codes of unit `u` of a head's digest, one a byte, element order.
template <DigestFormat format>
EBB_INLINE UnitBytes unit_codes(const std::byte* head, uint32_t units, uint32_t u) {
  if constexpr (format == DigestFormat::kInt4) {
    const auto low = load_as<uint64_t>(head + 4 + u * 16);
    const auto high = load_as<uint64_t>(head + 4 + u * 16 + 8);
    const UnitQuads nibbles = UnitQuads{low, high, low, high} >> UnitQuads{0, 0, 4, 4};
    return reinterpret_cast<UnitBytes>(nibbles) & 0x0f;
  } else {
    const UnitQuads all = UnitQuads{} + load_as<uint64_t>(head + 4 + u * 8);
    const UnitBytes pairs =
        reinterpret_cast<UnitBytes>(all >> UnitQuads{0, 2, 4, 6}) & uint8_t{0x03};
    if constexpr (format == DigestFormat::kH2) return pairs;
    const UnitWords lowest = UnitWords{} + load_as<uint32_t>(head + 4 + units * 8 + u * 4);
    const UnitWords bits = lowest >> UnitWords{0, 1, 2, 3, 4, 5, 6, 7};
    return pairs + pairs + (reinterpret_cast<UnitBytes>(bits) & uint8_t{0x01});
  }
}

/// As `fold` of inner_attention.h, for the eight lanes of TokenInts.
template <uint32_t step>
EBB_INLINE TokenInts fold_tokens(TokenInts a, TokenInts b) {
  const TokenInts lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  const TokenInts upper = (lanes & static_cast<int32_t>(step)) != 0;
  const TokenInts kept = upper ? b : a;
  const TokenInts crossed =
      (lanes ^ static_cast<int32_t>(step)) + (upper & static_cast<int32_t>(kScanTokens));
  return kept + __builtin_shuffle(a, b, crossed);
}

/// units 0: as many as the chunk says.
template <DigestFormat format, uint32_t heads, uint32_t fixed_units>
struct ScanKernel {
  static constexpr uint32_t kParts = format == DigestFormat::kInt4 ? 2 : 1;
  const DigestChunk& c;

  struct Sums {
    TokenInts head[heads];
  };

  EBB_INLINE UnitBytes query(uint32_t h, uint32_t part, uint32_t u) const {
    const uint32_t units = fixed_units > 0 ? fixed_units : c.units;
    return load_as<UnitBytes>(c.q + ((h * kParts + part) * units + u) * kDigestUnit);
  }

  /// Partial sums of one token's products: eight for each head.
  EBB_INLINE Sums token(const std::byte* head) const {
    const uint32_t units = fixed_units > 0 ? fixed_units : c.units;
    UnitShorts shorts[heads][kParts] = {};
#pragma GCC unroll 4
    for (uint32_t u = 0; u < units; ++u) {
      const UnitBytes codes = unit_codes<format>(head, units, u);
#pragma GCC unroll 4
      for (uint32_t h = 0; h < heads; ++h) {
#pragma GCC unroll 2
        for (uint32_t part = 0; part < kParts; ++part) {
          shorts[h][part] += multiply_add(codes, query(h, part, u));
        }
      }
    }
    Sums sums;
#pragma GCC unroll 4
    for (uint32_t h = 0; h < heads; ++h) {
      sums.head[h] = widen_pairs(shorts[h][0], kParts == 2 ? 128 : 1);
      if constexpr (kParts == 2) sums.head[h] += widen_pairs(shorts[h][1], 1);
    }
    return sums;
  }

  /// Lane j of the result for step = kScanTokens / 2, e = 0 is the sum of token j.
  template <uint32_t step>
  EBB_INLINE Sums folded(const std::byte* const* tokens) const {
    if constexpr (step == kScanTokens) {
      return token(*tokens + c.offset);
    } else {
      const Sums a = folded<step * 2>(tokens);
      const Sums b = folded<step * 2>(tokens + step);
      Sums sums;
#pragma GCC unroll 4
      for (uint32_t h = 0; h < heads; ++h) {
        sums.head[h] = fold_tokens<step>(a.head[h], b.head[h]);
      }
      return sums;
    }
  }
};

/// Finite binary16 in the low halves of words (the sign may be left out).
EBB_INLINE TokenFloats halves_to_floats(UnitWords halves) {
  const UnitWords magnitude = (halves & 0x7fff) << 13;
  const TokenFloats size = reinterpret_cast<TokenFloats>(magnitude) * 0x1p112f;
  return reinterpret_cast<TokenFloats>(reinterpret_cast<UnitWords>(size) | (halves & 0x8000) << 16);
}

template <DigestFormat format, uint32_t heads, uint32_t fixed_units>
void scan_heads(const DigestChunk& c) {
  const ScanKernel<format, heads, fixed_units> kernel{c};
  for (uint32_t e = 0; e < c.entries; e += kScanTokens) {
    const auto sums = kernel.template folded<1>(c.tokens + e);
    UnitWords words;
    for (uint32_t i = 0; i < kScanTokens; ++i) {
      words[i] = load_as<uint32_t>(c.tokens[e + i] + c.offset);
    }
    const TokenFloats scale = halves_to_floats(words & 0xffff);
    const TokenFloats zero = halves_to_floats(words >> 16);
    const uint32_t live = c.entries - e < kScanTokens ? c.entries - e : kScanTokens;
    for (uint32_t h = 0; h < heads; ++h) {
      const DigestQuery& q = c.queries[h];
      const TokenFloats dot = __builtin_convertvector(sums.head[h], TokenFloats);
      const TokenFloats logits = scale * (dot * q.factor + q.bias) + zero * q.total;
      __builtin_memcpy(c.logits + h * c.logits_stride + e, &logits, live * sizeof(float));
    }
  }
}

template <DigestFormat format, uint32_t heads>
void scan_units(const DigestChunk& c) {
  if (c.units == 2) return scan_heads<format, heads, 2>(c);
  return scan_heads<format, heads, 0>(c);
}

template <DigestFormat format>
void scan_format(const DigestChunk& c) {
  switch (c.heads) {
    case 4:
      return scan_units<format, 4>(c);
    case 3:
      return scan_units<format, 3>(c);
    case 2:
      return scan_units<format, 2>(c);
    case 1:
      return scan_units<format, 1>(c);
    default:
      return;
  }
}

#else

template <DigestFormat format>
EBB_INLINE void unpack_unit(const std::byte* head, uint32_t units, uint32_t u, uint8_t* codes) {
  const auto byte = [&](uint32_t at) { return static_cast<uint32_t>(head[4 + at]); };
  if constexpr (format == DigestFormat::kInt4) {
    for (uint32_t j = 0; j < kDigestUnit; ++j) {
      codes[j] = static_cast<uint8_t>(byte(u * 16 + j % 16) >> j / 16 * 4 & 0x0f);
    }
    return;
  }
  for (uint32_t j = 0; j < kDigestUnit; ++j) {
    const uint32_t pair = byte(u * 8 + j % 8) >> j / 8 * 2 & 0x03;
    const bool third = format == DigestFormat::kH3;
    const uint32_t lowest = third ? byte(units * 8 + u * 4 + j % 4) >> j / 4 & 0x01 : 0;
    codes[j] = static_cast<uint8_t>(third ? 2 * pair + lowest : pair);
  }
}

EBB_INLINE int32_t unit_dot(const uint8_t* codes, const std::byte* q) {
  int32_t sum = 0;
  for (uint32_t j = 0; j < kDigestUnit; ++j) sum += codes[j] * static_cast<int8_t>(q[j]);
  return sum;
}

template <DigestFormat format>
void scan_format(const DigestChunk& c) {
  constexpr uint32_t kParts = format == DigestFormat::kInt4 ? 2 : 1;
  const uint32_t padded = c.units * kDigestUnit;
  for (uint32_t e = 0; e < c.entries; ++e) {
    const std::byte* head = c.tokens[e] + c.offset;
    int32_t dots[kChunkHeadsMax] = {};
    for (uint32_t u = 0; u < c.units; ++u) {
      uint8_t codes[kDigestUnit];
      unpack_unit<format>(head, c.units, u, codes);
      for (uint32_t h = 0; h < c.heads; ++h) {
        const std::byte* q = c.q + h * kParts * padded + u * kDigestUnit;
        const int32_t dot = unit_dot(codes, q);
        dots[h] += kParts == 2 ? 128 * dot + unit_dot(codes, q + padded) : dot;
      }
    }
    const float scale = load_f16_scalar(head);
    const float zero = load_f16_scalar(head + 2);
    for (uint32_t h = 0; h < c.heads; ++h) {
      const DigestQuery& q = c.queries[h];
      c.logits[h * c.logits_stride + e] =
          scale * (static_cast<float>(dots[h]) * q.factor + q.bias) + zero * q.total;
    }
  }
}

#endif

void scan_chunk(const DigestChunk& c) {
  if (c.format == DigestFormat::kInt4) scan_format<DigestFormat::kInt4>(c);
  if (c.format == DigestFormat::kH3) scan_format<DigestFormat::kH3>(c);
  if (c.format == DigestFormat::kH2) scan_format<DigestFormat::kH2>(c);
  for (uint32_t h = 0; h < c.heads; ++h) {
    const float* logits = c.logits + h * c.logits_stride;
    c.maximum[h] = max_of(logits, c.entries);
    c.sum[h] = exp_all(logits, c.entries, c.maximum[h], c.weights);
  }
}

}  // namespace
}  // namespace ebb::kernels::cpu
