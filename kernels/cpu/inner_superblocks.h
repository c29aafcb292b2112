// The formats with blocks of 256 elements, expanded to f32. Part of inner.cpp. Layouts:
// kernels/weight_format.h.
//
// Two stages per block. First the codes: fields of bytes are shifted, masked and joined, as many
// bytes at a time as a vector holds (64 at most), and stored one code a byte in the order in which
// they come out. Then floats: code * factor + minimum, with the scales of each run of elements.
// Every load stays inside its block: the last block may end where the mapping does.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kSuperblock = 256;
/// Bytes of packed codes that the first stage takes in one go, and elements that stay together.
constexpr uint32_t kPacked = 64;
constexpr uint32_t kUnit = 32;

struct Unpacked {
  alignas(64) std::byte codes[kSuperblock];
  /// Factors of the block's runs, then (after kRuns of them) minimums.
  alignas(64) float scales[32];
};

/// Calls body(offset) for the vectors of kPacked bytes.
template <class Body>
EBB_INLINE void each_vector(const Body& body) {
#pragma GCC unroll 4
  for (uint32_t at = 0; at < kPacked; at += sizeof(Bytes)) body(at);
}

/// Vector `at` of 64 bytes: the 32 at `from`, and again, shifted right.
template <int shift>
EBB_INLINE Bytes twin(const std::byte* from, uint32_t at) {
#if defined(__AVX512F__)
  (void)at;
  const __m512i both = _mm512_maskz_broadcast_i64x4(0xff, load_as<__m256i>(from));
  return reinterpret_cast<Bytes>(_mm512_mask_srli_epi16(both, 0xffff0000, both, shift));
#else
  if (at < 32) return load_as<Bytes>(from + at);
  return shifted<shift>(load_as<Bytes>(from + at - 32));
#endif
}

/// Sixteen scales of a byte each, as floats times `factor`.
EBB_INLINE void scale_runs(Words4 codes, float factor, float* to) {
  alignas(16) std::byte bytes[16];
  store_as(bytes, codes);
  for (uint32_t i = 0; i < 16; i += kLanes) store(to + i, to_floats(load_u8(bytes + i)) * factor);
}

/// minimums = factors * `times`, for 16 runs.
EBB_INLINE void derive_minimums(float* scales, float times) {
  for (uint32_t i = 0; i < 16; i += kLanes) store(scales + 16 + i, load(scales + i) * times);
}

struct Q2_KFormat {
  static constexpr uint32_t kBytes = 84;
  static constexpr uint32_t kRuns = 16;
  /// Where the units of the codes belong among the elements.
  static constexpr uint8_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  static EBB_INLINE void unpack(const std::byte* from, Unpacked& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 16 + at);
      store_as(to.codes + at, packed & 3);
      store_as(to.codes + 64 + at, shifted<2>(packed) & 3);
      store_as(to.codes + 128 + at, shifted<4>(packed) & 3);
      store_as(to.codes + 192 + at, shifted<6>(packed) & 3);
    });
    const Words4 runs = load_as<Words4>(from);
    scale_runs(runs & 0x0f0f0f0f, load_f16_scalar(from + 80), to.scales);
    scale_runs((runs >> 4) & 0x0f0f0f0f, -load_f16_scalar(from + 82), to.scales + 16);
  }
};

struct Q3_KFormat {
  static constexpr uint32_t kBytes = 110;
  static constexpr uint32_t kRuns = 16;
  static constexpr uint8_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  static EBB_INLINE void unpack(const std::byte* from, Unpacked& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 32 + at);
      const Bytes third = twin<4>(from, at);
      store_as(to.codes + at, (packed & 3) | (shifted<-2>(third) & 4));
      store_as(to.codes + 64 + at, (shifted<2>(packed) & 3) | (shifted<-1>(third) & 4));
      store_as(to.codes + 128 + at, (shifted<4>(packed) & 3) | (third & 4));
      store_as(to.codes + 192 + at, (shifted<6>(packed) & 3) | (shifted<1>(third) & 4));
    });
    // Four bytes early: the twelve of the scales are the vector's last.
    const Words4 packed = load_as<Words4>(from + 92);
    const Words4 low = __builtin_shuffle(packed, Words4{1, 2, 1, 2}) >> Words4{0, 0, 4, 4};
    const Words4 upper = __builtin_shuffle(packed, Words4{3, 3, 3, 3}) >> Words4{0, 2, 4, 6};
    const float factor = load_f16_scalar(from + 108);
    scale_runs((low & 0x0f0f0f0f) | ((upper & 0x03030303) << 4), 1.0f, to.scales);
    for (uint32_t i = 0; i < 16; i += kLanes) {
      store(to.scales + i, (load(to.scales + i) - 32.0f) * factor);
    }
    derive_minimums(to.scales, -4.0f);
  }
};

/// The scales of Q4_K and Q5_K: eight factors, eight minimums.
EBB_INLINE void unpack_paired_scales(const std::byte* from, float* scales) {
  const Words4 packed = load_as<Words4>(from + 4);  // its last word is not of the scales
  const Words4 low = (__builtin_shuffle(packed, Words4{0, 2, 1, 2}) >> Words4{0, 0, 0, 4}) &
                     Words4{0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f};
  const Words4 upper =
      (__builtin_shuffle(packed, Words4{0, 0, 1, 1}) >> 2) & Words4{0, 0x30303030, 0, 0x30303030};
  alignas(16) std::byte bytes[16];
  store_as(bytes, low | upper);
  const FloatPair d = load_f16_pair(from);
  for (uint32_t i = 0; i < 16; i += kLanes) {
    const Ints run = lane_numbers() + static_cast<int32_t>(i);
    const Floats factor = run < splat_int(8) ? splat(d.first) : splat(-d.second);
    store(scales + i, to_floats(load_u8(bytes + i)) * factor);
  }
}

struct Q4_KFormat {
  static constexpr uint32_t kBytes = 144;
  static constexpr uint32_t kRuns = 8;
  static constexpr uint8_t kOrder[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  static EBB_INLINE void unpack(const std::byte* from, Unpacked& to) {
    for (uint32_t half = 0; half < 2; ++half) {
      each_vector([&](uint32_t at) __attribute__((always_inline)) {
        const Bytes packed = load_as<Bytes>(from + 16 + 64 * half + at);
        store_as(to.codes + 128 * half + at, packed & 15);
        store_as(to.codes + 128 * half + 64 + at, shifted<4>(packed) & 15);
      });
    }
    unpack_paired_scales(from, to.scales);
  }
};

struct Q5_KFormat {
  static constexpr uint32_t kBytes = 176;
  static constexpr uint32_t kRuns = 8;
  static constexpr uint8_t kOrder[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  template <int half>
  static EBB_INLINE void unpack_half(const std::byte* from, Unpacked& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 48 + 64 * half + at);
      const Bytes fifth = twin<2>(from + 16, at);
      store_as(to.codes + 128 * half + at, (packed & 15) | (shifted<4 * half - 4>(fifth) & 16));
      store_as(to.codes + 128 * half + 64 + at,
               (shifted<4>(packed) & 15) | (shifted<4 * half - 3>(fifth) & 16));
    });
  }
  static EBB_INLINE void unpack(const std::byte* from, Unpacked& to) {
    unpack_half<0>(from, to);
    unpack_half<1>(from, to);
    unpack_paired_scales(from, to.scales);
  }
};

struct Q6_KFormat {
  static constexpr uint32_t kBytes = 210;
  static constexpr uint32_t kRuns = 16;
  static constexpr uint8_t kOrder[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  static EBB_INLINE void unpack(const std::byte* from, Unpacked& to) {
    for (uint32_t half = 0; half < 2; ++half) {
      each_vector([&](uint32_t at) __attribute__((always_inline)) {
        const Bytes packed = load_as<Bytes>(from + 64 * half + at);
        const Bytes upper = twin<2>(from + 128 + 32 * half, at);
        store_as(to.codes + 128 * half + at, (packed & 15) | (shifted<-4>(upper) & 48));
        store_as(to.codes + 128 * half + 64 + at, (shifted<4>(packed) & 15) | (upper & 48));
      });
    }
    const float factor = load_f16_scalar(from + 208);
    for (uint32_t i = 0; i < 16; i += kLanes) {
      store(to.scales + i, to_floats(load_i8(from + 192 + i)) * factor);
    }
    derive_minimums(to.scales, -32.0f);
  }
};

template <class Format>
EBB_INLINE void scale_codes(const Unpacked& from, float* out) {
  constexpr uint32_t run = kSuperblock / Format::kRuns;
#pragma GCC unroll 8
  for (uint32_t unit = 0; unit < kSuperblock / kUnit; ++unit) {
    const uint32_t element = kUnit * Format::kOrder[unit];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < kUnit; i += kLanes) {
      const float* scale = from.scales + (element + i) / run;
      const Floats codes = to_floats(load_u8(from.codes + kUnit * unit + i));
      store(out + element + i, codes * scale[0] + scale[Format::kRuns]);
    }
  }
}

/// `count` elements, whole blocks, to f32.
template <class Format>
void expand_superblocks(const std::byte* from, uint64_t count, float* out) {
  for (uint64_t e = 0; e < count; e += kSuperblock) {
    Unpacked block;
    Format::unpack(from, block);
    scale_codes<Format>(block, out + e);
    from += Format::kBytes;
  }
}

}  // namespace
}  // namespace ebb::kernels::cpu
