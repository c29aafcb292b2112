// The formats with blocks of 256 elements: expanded to f32, and multiplied with one row of x. Part
// of inner.cpp. Layouts: kernels/weight_format.h.
//
// A block is visited vector by vector, in the order of its elements. First its codes: fields of
// bytes are shifted, masked and joined, as many bytes at a time as a vector holds (64 at most), one
// code a byte. Then floats: code * factor + minimum, with the scales of each run of elements. With
// 16 lanes and codes of at most four bits one permutation of a table of a run's 16 possible values
// does the last steps of both. Every load stays inside its block: the last one may end where the
// mapping does.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kSuperblock = 256;
/// Bytes of packed codes that are taken in one go, and codes that stay together.
constexpr uint32_t kPacked = 64;
constexpr uint32_t kUnit = 32;

/// Factors of a block's runs, then (after kRuns of them) minimums.
struct RunScales {
  alignas(64) float value[32];
};
struct Codes {
  alignas(64) std::byte code[kSuperblock];
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
EBB_INLINE void scale_bytes(Words4 codes, float factor, float* to) {
  alignas(16) std::byte bytes[16];
  store_as(bytes, codes);
  for (uint32_t i = 0; i < 16; i += kLanes) store(to + i, to_floats(load_u8(bytes + i)) * factor);
}

/// Minimums of 16 runs that are `times` their factors.
EBB_INLINE void derive_minimums(float* scales, float times) {
  for (uint32_t i = 0; i < 16; i += kLanes) store(scales + 16 + i, load(scales + i) * times);
}

/// The scales of Q4_K and Q5_K: eight factors, eight minimums.
EBB_INLINE void paired_scales(const std::byte* from, float* to) {
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
    store(to + i, to_floats(load_u8(bytes + i)) * factor);
  }
}

/// Values that the codes of run `run` may stand for, code c's in the lanes with c = lane & mask.
template <uint32_t runs>
EBB_INLINE Floats run_table(const RunScales& scales, uint32_t run, int32_t mask) {
  return to_floats(lane_numbers() & mask) * scales.value[run] + scales.value[runs + run];
}

struct Q2_KFormat {
  static constexpr uint32_t kBytes = 84;
  static constexpr uint32_t kRuns = 16;
  static constexpr bool kTables = true;
  static EBB_INLINE void scales(const std::byte* from, RunScales& to) {
    const Words4 packed = load_as<Words4>(from);
    scale_bytes(packed & 0x0f0f0f0f, load_f16_scalar(from + 80), to.value);
    scale_bytes((packed >> 4) & 0x0f0f0f0f, -load_f16_scalar(from + 82), to.value + 16);
  }
  /// Where each unit of elements stands among the codes.
  static constexpr uint8_t kPlace[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  static EBB_INLINE void codes(const std::byte* from, Codes& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 16 + at);
      store_as(to.code + at, packed & 3);
      store_as(to.code + 64 + at, shifted<2>(packed) & 3);
      store_as(to.code + 128 + at, shifted<4>(packed) & 3);
      store_as(to.code + 192 + at, shifted<6>(packed) & 3);
    });
  }
  template <class Sink>
  static EBB_INLINE void visit_tables(const std::byte* from, const RunScales& scales,
                                      const Sink& sink) {
#pragma GCC unroll 2
    for (uint32_t half = 0; half < 2; ++half) {
      const Ints packed[2] = {load_u8(from + 16 + 32 * half), load_u8(from + 32 + 32 * half)};
#pragma GCC unroll 8
      for (uint32_t i = 0; i < 8; ++i) {
        const Floats table = run_table<kRuns>(scales, 8 * half + i, 3);
        sink(128 * half + 16 * i, __builtin_shuffle(table, packed[i % 2] >> (i / 2 * 2)));
      }
    }
  }
};

struct Q3_KFormat {
  static constexpr uint32_t kBytes = 110;
  static constexpr uint32_t kRuns = 16;
  static EBB_INLINE void scales(const std::byte* from, RunScales& to) {
    // Four bytes early: the twelve of the scales are the vector's last.
    const Words4 packed = load_as<Words4>(from + 92);
    const Words4 low = __builtin_shuffle(packed, Words4{1, 2, 1, 2}) >> Words4{0, 0, 4, 4};
    const Words4 upper = __builtin_shuffle(packed, Words4{3, 3, 3, 3}) >> Words4{0, 2, 4, 6};
    scale_bytes((low & 0x0f0f0f0f) | ((upper & 0x03030303) << 4), 1.0f, to.value);
    const float factor = load_f16_scalar(from + 108);
    for (uint32_t i = 0; i < 16; i += kLanes) {
      store(to.value + i, (load(to.value + i) - 32.0f) * factor);
    }
    derive_minimums(to.value, -4.0f);
  }
  static constexpr uint8_t kPlace[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  static EBB_INLINE void codes(const std::byte* from, Codes& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 32 + at);
      const Bytes third = twin<4>(from, at);
      store_as(to.code + at, (packed & 3) | (shifted<-2>(third) & 4));
      store_as(to.code + 64 + at, (shifted<2>(packed) & 3) | (shifted<-1>(third) & 4));
      store_as(to.code + 128 + at, (shifted<4>(packed) & 3) | (third & 4));
      store_as(to.code + 192 + at, (shifted<6>(packed) & 3) | (shifted<1>(third) & 4));
    });
  }
};

struct Q4_KFormat {
  static constexpr uint32_t kBytes = 144;
  static constexpr uint32_t kRuns = 8;
  static constexpr bool kTables = true;
  static EBB_INLINE void scales(const std::byte* from, RunScales& to) {
    paired_scales(from, to.value);
  }
  static constexpr uint8_t kPlace[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  static EBB_INLINE void codes(const std::byte* from, Codes& to) {
    for (uint32_t half = 0; half < 2; ++half) {
      each_vector([&](uint32_t at) __attribute__((always_inline)) {
        const Bytes packed = load_as<Bytes>(from + 16 + 64 * half + at);
        store_as(to.code + 128 * half + at, packed & 15);
        store_as(to.code + 128 * half + 64 + at, shifted<4>(packed) & 15);
      });
    }
  }
  template <class Sink>
  static EBB_INLINE void visit_tables(const std::byte* from, const RunScales& scales,
                                      const Sink& sink) {
#pragma GCC unroll 4
    for (uint32_t pair = 0; pair < 4; ++pair) {
      const Ints first = load_u8(from + 16 + 32 * pair);
      const Ints second = load_u8(from + 32 + 32 * pair);
      const Floats low = run_table<kRuns>(scales, 2 * pair, 15);
      const Floats high = run_table<kRuns>(scales, 2 * pair + 1, 15);
      sink(64 * pair, __builtin_shuffle(low, first));
      sink(64 * pair + 16, __builtin_shuffle(low, second));
      sink(64 * pair + 32, __builtin_shuffle(high, first >> 4));
      sink(64 * pair + 48, __builtin_shuffle(high, second >> 4));
    }
  }
};

struct Q5_KFormat {
  static constexpr uint32_t kBytes = 176;
  static constexpr uint32_t kRuns = 8;
  static EBB_INLINE void scales(const std::byte* from, RunScales& to) {
    paired_scales(from, to.value);
  }
  static constexpr uint8_t kPlace[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  template <int half>
  static EBB_INLINE void half_codes(const std::byte* from, Codes& to) {
    each_vector([&](uint32_t at) __attribute__((always_inline)) {
      const Bytes packed = load_as<Bytes>(from + 48 + 64 * half + at);
      const Bytes fifth = twin<2>(from + 16, at);
      store_as(to.code + 128 * half + at, (packed & 15) | (shifted<4 * half - 4>(fifth) & 16));
      store_as(to.code + 128 * half + 64 + at,
               (shifted<4>(packed) & 15) | (shifted<4 * half - 3>(fifth) & 16));
    });
  }
  static EBB_INLINE void codes(const std::byte* from, Codes& to) {
    half_codes<0>(from, to);
    half_codes<1>(from, to);
  }
};

struct Q6_KFormat {
  static constexpr uint32_t kBytes = 210;
  static constexpr uint32_t kRuns = 16;
  static EBB_INLINE void scales(const std::byte* from, RunScales& to) {
    const float factor = load_f16_scalar(from + 208);
    for (uint32_t i = 0; i < 16; i += kLanes) {
      store(to.value + i, to_floats(load_i8(from + 192 + i)) * factor);
    }
    derive_minimums(to.value, -32.0f);
  }
  static constexpr uint8_t kPlace[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  static EBB_INLINE void codes(const std::byte* from, Codes& to) {
    for (uint32_t half = 0; half < 2; ++half) {
      each_vector([&](uint32_t at) __attribute__((always_inline)) {
        const Bytes packed = load_as<Bytes>(from + 64 * half + at);
        const Bytes upper = twin<2>(from + 128 + 32 * half, at);
        store_as(to.code + 128 * half + at, (packed & 15) | (shifted<-4>(upper) & 48));
        store_as(to.code + 128 * half + 64 + at, (shifted<4>(packed) & 15) | (upper & 48));
      });
    }
  }
};

template <class Format>
concept HasTables = kLanes == 16 && requires {
  &Format::template visit_tables<int>;
};

template <class Format>
EBB_INLINE void read_scales(const std::byte* from, RunScales& to) {
  Format::scales(from, to);
  keep_in_memory(to);
}

/// The vector of element `element` of a block that has been taken apart.
template <class Format>
EBB_INLINE Floats scaled_codes(const Codes& codes, const RunScales& scales, uint32_t element) {
  const float* scale = scales.value + element / (kSuperblock / Format::kRuns);
  const uint32_t at = kUnit * Format::kPlace[element / kUnit] + element % kUnit;
  return to_floats(load_u8(codes.code + at)) * scale[0] + scale[Format::kRuns];
}

/// Calls sink(element, values) for the block's vectors, in ascending order.
template <class Format, class Sink>
EBB_INLINE void visit_superblock(const std::byte* from, const Sink& sink) {
  RunScales scales;
  read_scales<Format>(from, scales);
  if constexpr (HasTables<Format>) {
    Format::visit_tables(from, scales, sink);
    return;
  }
  Codes codes;
  Format::codes(from, codes);
  // A 64-byte vector is cheaper to take apart where it is; of smaller ones there are too many.
  if constexpr (kLanes < 16) keep_in_memory(codes);
#pragma GCC unroll 64
  for (uint32_t element = 0; element < kSuperblock; element += kLanes) {
    sink(element, scaled_codes<Format>(codes, scales, element));
  }
}

/// `count` elements, whole blocks, to f32.
template <class Format>
void expand_superblocks(const std::byte* from, uint64_t count, float* out) {
  for (uint64_t e = 0; e < count; e += kSuperblock) {
    float* to = out + e;
    visit_superblock<Format>(
        from, [&](uint32_t element, Floats values)
                  __attribute__((always_inline)) { store(to + element, values); });
    from += Format::kBytes;
  }
}

/// Weight rows that are taken together: each addition to a row's sum waits for the one before,
/// those of several rows overlap.
constexpr uint32_t kRowsAbreast = 4;

/// sums[i] += block of row i times x, for `rows` rows `stride` bytes apart.
template <class Format, uint32_t rows>
EBB_INLINE void add_superblocks(const std::byte* block, uint64_t stride, const float* x,
                                Floats* sums) {
  if constexpr (kLanes == 16) {
    // Few enough instructions a block that the CPU finds the next row's by itself.
    for (uint32_t i = 0; i < rows; ++i) {
      Floats sum = sums[i];
      visit_superblock<Format>(
          block + i * stride, [&](uint32_t element, Floats values) __attribute__((always_inline)) {
            sum += values * load(x + element);
          });
      sums[i] = sum;
    }
  } else {
    RunScales scales[rows];
    Codes codes[rows];
    for (uint32_t i = 0; i < rows; ++i) {
      read_scales<Format>(block + i * stride, scales[i]);
      Format::codes(block + i * stride, codes[i]);
      keep_in_memory(codes[i]);
    }
    for (uint32_t unit = 0; unit < kSuperblock; unit += kUnit) {
#pragma GCC unroll 8
      for (uint32_t e = unit; e < unit + kUnit; e += kLanes) {
        const Floats values = load(x + e);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < rows; ++i) {
          sums[i] += scaled_codes<Format>(codes[i], scales[i], e) * values;
        }
      }
    }
  }
}

template <class Format, uint32_t rows>
void gemv_superblock_rows(const GemvTask& t, uint64_t n) {
  Floats sums[rows] = {};
  const std::byte* block = t.weight + n * t.weight_stride;
  for (uint64_t e = 0; e < t.columns; e += kSuperblock) {
    add_superblocks<Format, rows>(block, t.weight_stride, t.x + e, sums);
    block += Format::kBytes;
  }
  for (uint32_t i = 0; i < rows; ++i) t.out[n + i] = sum_lanes(sums[i]);
}

/// One row of x.
template <class Format>
void gemv_superblocks(const GemvTask& t) {
  uint64_t n = t.row_begin;
  for (; n + kRowsAbreast <= t.row_end; n += kRowsAbreast) {
    gemv_superblock_rows<Format, kRowsAbreast>(t, n);
  }
  for (; n < t.row_end; ++n) gemv_superblock_rows<Format, 1>(t, n);
}

}  // namespace
}  // namespace ebb::kernels::cpu
