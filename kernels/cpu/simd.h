// Vectors of the width the translation unit is compiled for: 4, 8 or 16 floats. GCC's vector
// extension does the arithmetic; the few conversions it lowers badly are spelled with intrinsics.
// Only for the per-ISA objects.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace ebb::kernels::cpu {
namespace {

#if defined(__AVX512F__)
constexpr uint32_t kLanes = 16;
// The masked forms, with every lane on, become the plain instructions. The plain forms of GCC 12's
// header begin with an "undefined" operand that its own warnings then take for a mistake.
constexpr __mmask16 kAllLanes = 0xffff;
#elif defined(__AVX2__)
constexpr uint32_t kLanes = 8;
#else
constexpr uint32_t kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));

typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Halves __attribute__((vector_size(kLanes * 4)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint16_t Halves8 __attribute__((vector_size(16)));
typedef uint32_t Words4 __attribute__((vector_size(16)));

#define EBB_INLINE inline __attribute__((always_inline))

template <class T>
EBB_INLINE T load_as(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
EBB_INLINE void store_as(void* to, const T& value) {
  __builtin_memcpy(to, &value, sizeof value);
}
EBB_INLINE Floats load(const float* from) { return load_as<Floats>(from); }
EBB_INLINE void store(float* to, Floats value) { store_as(to, value); }
EBB_INLINE Floats splat(float value) { return value - Floats{}; }
EBB_INLINE Ints splat_int(int32_t value) { return value - Ints{}; }
EBB_INLINE Floats as_floats(Ints bits) { return reinterpret_cast<Floats>(bits); }
EBB_INLINE Ints as_ints(Floats value) { return reinterpret_cast<Ints>(value); }
EBB_INLINE Floats to_floats(Ints value) { return __builtin_convertvector(value, Floats); }
/// One instruction each; b where either is a NaN.
EBB_INLINE Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_max_ps(kAllLanes, a, b));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_max_ps(a, b));
#else
  return reinterpret_cast<Floats>(_mm_max_ps(a, b));
#endif
}
EBB_INLINE Floats smaller(Floats a, Floats b) { return -larger(-a, -b); }
/// Keeps a value in a register: GCC otherwise folds one load into each of its uses, and loads are
/// the scarce thing.
EBB_INLINE void keep_in_register(Floats& value) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(value));
#else
  __asm__("" : "+x"(value));
#endif
}

/// Has a value stored and loaded again: a load widens or broadcasts for nothing what GCC otherwise
/// shuffles out of registers, on the one port that does it.
template <class T>
EBB_INLINE void keep_in_memory(T& value) {
  __asm__("" : "+m"(value));
}

/// Lane number, as a vector.
EBB_INLINE Ints lane_numbers() {
  Ints lanes;
  for (uint32_t i = 0; i < kLanes; ++i) lanes[i] = static_cast<int32_t>(i);
  return lanes;
}

/// kLanes bytes, widened.
EBB_INLINE Ints load_u8(const std::byte* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepu8_epi32(kAllLanes, load_as<__m128i>(from)));
#elif defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(load_as<long long>(from))));
#else
  return reinterpret_cast<Ints>(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(load_as<int32_t>(from))));
#endif
}
EBB_INLINE Ints load_i8(const std::byte* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepi8_epi32(kAllLanes, load_as<__m128i>(from)));
#elif defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(load_as<long long>(from))));
#else
  return reinterpret_cast<Ints>(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(load_as<int32_t>(from))));
#endif
}
/// kLanes 16-bit words, widened.
EBB_INLINE Ints load_u16(const std::byte* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepu16_epi32(kAllLanes, load_as<__m256i>(from)));
#elif defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_cvtepu16_epi32(load_as<__m128i>(from)));
#else
  return reinterpret_cast<Ints>(_mm_cvtepu16_epi32(_mm_cvtsi64_si128(load_as<long long>(from))));
#endif
}
EBB_INLINE Floats load_bf16(const std::byte* from) { return as_floats(load_u16(from) << 16); }

/// binary16 bits to float without the F16C instruction: shift the fraction into place, rebias the
/// exponent by a multiplication (exact, and it handles subnormals), repair infinities and NaNs.
EBB_INLINE float f16_by_bits(uint32_t half) {
  const uint32_t magnitude = (half & 0x7fff) << 13;
  float value = load_as<float>(&magnitude) * 0x1p112f;
  uint32_t bits = load_as<uint32_t>(&value);
  if (magnitude >= 0x7c00u << 13) bits = magnitude | 0x7f800000u;
  bits |= (half & 0x8000) << 16;
  return load_as<float>(&bits);
}
EBB_INLINE float load_f16_scalar(const std::byte* from) {
#if defined(__F16C__)
  return _cvtsh_ss(load_as<uint16_t>(from));
#else
  return f16_by_bits(load_as<uint16_t>(from));
#endif
}
struct FloatPair {
  float first;
  float second;
};
/// Two binary16 that stand next to each other. Reads 8 bytes: the instruction converts four at a
/// time.
EBB_INLINE FloatPair load_f16_pair(const std::byte* from) {
#if defined(__F16C__)
  const __m128 values = _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  FloatPair pair;
  _mm_storel_pi(reinterpret_cast<__m64*>(&pair), values);
  return pair;
#else
  return {f16_by_bits(load_as<uint16_t>(from)), f16_by_bits(load_as<uint16_t>(from + 2))};
#endif
}
EBB_INLINE Floats load_f16(const std::byte* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_maskz_cvtph_ps(kAllLanes, load_as<__m256i>(from)));
#elif defined(__F16C__)
  return reinterpret_cast<Floats>(_mm256_cvtph_ps(load_as<__m128i>(from)));
#else
  const Ints half = load_u16(from);
  const Ints magnitude = (half & 0x7fff) << 13;
  const Ints special = (magnitude >= splat_int(0x7c00 << 13)) & 0x7f800000;
  const Ints bits = as_ints(as_floats(magnitude) * 0x1p112f) | special;
  return as_floats(bits | (half & 0x8000) << 16);
#endif
}

/// Bytes shifted right (left, if negative) within pairs of bytes: what crosses between the two is
/// the caller's to mask away. Shifts of bytes do not exist.
template <int shift>
EBB_INLINE Bytes shifted(Bytes bytes) {
  const Halves pairs = reinterpret_cast<Halves>(bytes);
  if constexpr (shift < 0) return reinterpret_cast<Bytes>(pairs << -shift);
  return reinterpret_cast<Bytes>(pairs >> (shift < 0 ? 0 : shift));
}

/// Sixteen bits, one a byte: 0xff where the bit is set.
EBB_INLINE Bytes16 spread_bits(const std::byte* from) {
  const Bytes16 both = reinterpret_cast<Bytes16>(load_as<uint16_t>(from) - Halves8{});
  const Bytes16 eight = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  const Bytes16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  return reinterpret_cast<Bytes16>((__builtin_shuffle(both, eight) & bit) == bit);
}

/// a + b in the lanes whose bit (lane 0's is the lowest) is set, a elsewhere.
EBB_INLINE Floats add_where(uint32_t bits, Floats a, Floats b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_mask_add_ps(a, static_cast<__mmask16>(bits), a, b));
#else
  const Ints lane_bit = splat_int(1) << lane_numbers();
  return (splat_int(static_cast<int32_t>(bits)) & lane_bit) != 0 ? a + b : a;
#endif
}

/// Low and high half of a vector exchanged within groups of 2 * `step` lanes.
template <uint32_t step>
EBB_INLINE Floats swap_halves(Floats a) {
  return __builtin_shuffle(a, lane_numbers() ^ static_cast<int32_t>(step));
}
/// Sum of all lanes, always by the same tree.
EBB_INLINE float sum_lanes(Floats a) {
  if constexpr (kLanes >= 16) a += swap_halves<8>(a);
  if constexpr (kLanes >= 8) a += swap_halves<4>(a);
  a += swap_halves<2>(a);
  a += swap_halves<1>(a);
  return a[0];
}
EBB_INLINE float max_lanes(Floats a) {
  if constexpr (kLanes >= 16) a = larger(a, swap_halves<8>(a));
  if constexpr (kLanes >= 8) a = larger(a, swap_halves<4>(a));
  a = larger(a, swap_halves<2>(a));
  a = larger(a, swap_halves<1>(a));
  return a[0];
}

/// Above this, exp_of leaves the range of a float.
constexpr float kExpMax = 88.3f;

/// e^x for x <= kExpMax, relative error below 2e-7; 0 below -87.3; exp_of(0) == 1. x = n ln2 + r
/// with |r| <= ln2 / 2 (ln2 in two parts), a degree-6 polynomial in r (least maximum relative error
/// with the first two coefficients held at 1), times 2^n.
EBB_INLINE Floats exp_of(Floats x) {
  const float magic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which stands in the low bits
  const Floats rounded = x * 1.44269504f + magic;
  const Floats n = rounded - magic;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = r * 1.381454e-3f + 8.3687457e-3f;
  p = p * r + 4.1668391e-2f;
  p = p * r + 1.66665204e-1f;
  p = p * r + 4.99999934e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // Unsigned: the sum may wrap for an x whose result is not taken.
  const Words exponent = reinterpret_cast<Words>(rounded) << 23;
  const Floats result = reinterpret_cast<Floats>(reinterpret_cast<Words>(p) + exponent);
  return x < splat(-87.3f) ? Floats{} : result;
}

}  // namespace
}  // namespace ebb::kernels::cpu
