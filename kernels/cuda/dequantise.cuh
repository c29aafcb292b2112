// What the stored blocks of kernels/weight_format.h stand for, eight neighbouring elements at a
// time: the unit in which every kernel here reads weights. Codes come with the scale and the
// minimum of their run: where values themselves are wanted (embeddings, panels) each is formed and
// rounded in the reference's order, so that it is the same f32; products of few rows take both out
// of the sum.
//
// Rows of a weight on the device begin at multiples of kRowAlign and are filled up with zeros to
// it: a unit may be loaded whole, with loads as wide as a format's blocks are aligned.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/weight_format.h"

namespace ebb::kernels::cuda {

constexpr uint32_t kUnit = 8;
/// Bytes; a unit of f32, the widest.
constexpr uint32_t kRowAlign = 32;

/// Eight numbers at[i], which stand for the values scale * at[i] + minimum.
struct Unit {
  float at[kUnit];
  float scale = 1;
  float minimum = 0;
};
/// Which of the two a format has. Of a plain one at[i] is the value.
enum class Meaning : uint8_t { kPlain, kScaled, kAffine };

/// Eight bytes at an address that is a multiple of `Align`.
template <unsigned Align>
__device__ __forceinline__ uint2 load_eight(const std::byte* from) {
  if constexpr (Align >= 8) {
    return *reinterpret_cast<const uint2*>(from);
  } else if constexpr (Align == 4) {
    const auto* words = reinterpret_cast<const unsigned*>(from);
    return make_uint2(words[0], words[1]);
  } else {
    const auto* halves = reinterpret_cast<const unsigned short*>(from);
    return make_uint2(halves[0] | static_cast<unsigned>(halves[1]) << 16,
                      halves[2] | static_cast<unsigned>(halves[3]) << 16);
  }
}

__device__ __forceinline__ unsigned load_byte(const std::byte* from) {
  return *reinterpret_cast<const unsigned char*>(from);
}
__device__ __forceinline__ float load_half(const std::byte* from) {
  return __half2float(__ushort_as_half(*reinterpret_cast<const unsigned short*>(from)));
}

__device__ __forceinline__ unsigned byte_of(uint2 bytes, unsigned i) {
  return ((i < 4 ? bytes.x : bytes.y) >> (i % 4 * 8)) & 0xffu;
}

/// q - offset, q below 2^23: by the bits of 2^23 + q, at the rate of a sum (a conversion has a
/// quarter of it). Exact.
__device__ __forceinline__ float code_value(unsigned q, float offset) {
  return __uint_as_float(0x4b000000u | q) - (8388608.0f + offset);
}

/// Unit `u` of a block of `F`; of the plain formats, which have no blocks, eight elements stand for
/// one.
template <WeightFormat F>
struct Dequantiser;

template <>
struct Dequantiser<WeightFormat::kF32> {
  static constexpr Meaning kMeaning = Meaning::kPlain;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned) {
    const auto* from = reinterpret_cast<const float4*>(block);
    const float4 a = from[0], b = from[1];
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  }
};

template <>
struct Dequantiser<WeightFormat::kF16> {
  static constexpr Meaning kMeaning = Meaning::kPlain;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned) {
    const uint4 bits = *reinterpret_cast<const uint4*>(block);
    const unsigned pairs[4] = {bits.x, bits.y, bits.z, bits.w};
    Unit w;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      w.at[2 * i] = __half2float(__ushort_as_half(static_cast<unsigned short>(pairs[i])));
      w.at[2 * i + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(pairs[i] >> 16)));
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kBF16> {
  static constexpr Meaning kMeaning = Meaning::kPlain;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned) {
    const uint4 bits = *reinterpret_cast<const uint4*>(block);
    const unsigned pairs[4] = {bits.x, bits.y, bits.z, bits.w};
    Unit w;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      w.at[2 * i] = __uint_as_float(pairs[i] << 16);
      w.at[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ8_0> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    uint2 codes = load_eight<2>(block + 2 + u * kUnit);
    codes.x ^= 0x80808080u;
    codes.y ^= 0x80808080u;
    Unit w;
    w.scale = load_half(block);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i), 128);
    }
    return w;
  }
};

/// The nibbles of a unit of a block of 32, one to a byte: units 0 and 1 are low nibbles.
template <unsigned Align>
__device__ __forceinline__ uint2 nibbles_of_32(const std::byte* nibbles, unsigned u) {
  uint2 codes = load_eight<Align>(nibbles + u % 2 * kUnit);
  codes.x = codes.x >> (u / 2 * 4) & 0x0f0f0f0fu;
  codes.y = codes.y >> (u / 2 * 4) & 0x0f0f0f0fu;
  return codes;
}

template <>
struct Dequantiser<WeightFormat::kQ4_0> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const uint2 codes = nibbles_of_32<2>(block + 2, u);
    Unit w;
    w.scale = load_half(block);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i), 8);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ4_1> {
  static constexpr Meaning kMeaning = Meaning::kAffine;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const uint2 codes = nibbles_of_32<4>(block + 4, u);
    Unit w;
    w.scale = load_half(block);
    w.minimum = load_half(block + 2);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i), 0);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ5_0> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const uint2 codes = nibbles_of_32<2>(block + 6, u);
    const unsigned fifth = load_byte(block + 2 + u);
    Unit w;
    w.scale = load_half(block);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i) | (fifth >> i & 1u) << 4, 16);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ5_1> {
  static constexpr Meaning kMeaning = Meaning::kAffine;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const uint2 codes = nibbles_of_32<8>(block + 8, u);
    const unsigned fifth = load_byte(block + 4 + u);
    Unit w;
    w.scale = load_half(block);
    w.minimum = load_half(block + 2);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i) | (fifth >> i & 1u) << 4, 0);
    }
    return w;
  }
};

/// kIq4Values, whose bytes are taken out of four words: a table in memory would cost a load a
/// value.
__device__ __forceinline__ float iq4_value(unsigned q) {
  constexpr auto word = [](unsigned first) {
    unsigned bytes = 0;
    for (unsigned i = 0; i < 4; ++i) {
      bytes |= static_cast<unsigned>(kIq4Values[first + i] + 128) << (8 * i);
    }
    return bytes;
  };
  constexpr unsigned w0 = word(0), w1 = word(4), w2 = word(8), w3 = word(12);
  const unsigned four = q < 8 ? (q < 4 ? w0 : w1) : (q < 12 ? w2 : w3);
  return code_value(four >> (q % 4 * 8) & 0xffu, 128);
}

template <>
struct Dequantiser<WeightFormat::kIQ4_NL> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const uint2 codes = nibbles_of_32<2>(block + 2, u);
    Unit w;
    w.scale = load_half(block);
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) w.at[i] = iq4_value(byte_of(codes, i));
    return w;
  }
};

/// Fields of two bits of a unit of a block of 256, one to a byte: 32 bytes hold 128 elements.
template <unsigned Align>
__device__ __forceinline__ uint2 pairs_of_256(const std::byte* pairs, unsigned u) {
  uint2 codes = load_eight<Align>(pairs + u / 16 * 32 + u % 4 * kUnit);
  const unsigned shift = u % 16 / 4 * 2;
  codes.x = codes.x >> shift & 0x03030303u;
  codes.y = codes.y >> shift & 0x03030303u;
  return codes;
}

/// One bit of a unit, one to a byte, from the 32 bytes that hold a bit of all 256 elements.
template <unsigned Align>
__device__ __forceinline__ uint2 bits_of_256(const std::byte* bits, unsigned u) {
  uint2 codes = load_eight<Align>(bits + u % 4 * kUnit);
  codes.x = codes.x >> (u / 4) & 0x01010101u;
  codes.y = codes.y >> (u / 4) & 0x01010101u;
  return codes;
}

template <>
struct Dequantiser<WeightFormat::kQ2_K> {
  static constexpr Meaning kMeaning = Meaning::kAffine;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const unsigned run = load_byte(block + u / 2);
    const uint2 codes = pairs_of_256<4>(block + 16, u);
    Unit w;
    w.scale = __fmul_rn(load_half(block + 80), code_value(run & 15u, 0));
    w.minimum = -__fmul_rn(load_half(block + 82), code_value(run >> 4, 0));
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i), 0);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ3_K> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const unsigned run = u / 2;
    const std::byte* scales = block + 96;
    const unsigned low = load_byte(scales + run % 8) >> (run < 8 ? 0 : 4) & 15u;
    const unsigned high = load_byte(scales + 8 + run % 4) >> (run / 4 * 2) & 3u;
    const uint2 codes = pairs_of_256<2>(block + 32, u);
    const uint2 third = bits_of_256<2>(block, u);
    Unit w;
    w.scale = __fmul_rn(load_half(block + 108), code_value(low | high << 4, 32));
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i) | byte_of(third, i) << 2, 4);
    }
    return w;
  }
};

/// What Q4_K and Q5_K share: a run's scale and minimum.
__device__ __forceinline__ float2 scale_and_minimum(const std::byte* block, unsigned run) {
  const std::byte* scales = block + 4;
  const unsigned r = run % 4;
  const unsigned a = load_byte(scales + r), b = load_byte(scales + r + 4);
  unsigned s = a & 63u, t = b & 63u;
  if (run >= 4) {
    const unsigned c = load_byte(scales + r + 8);
    s = (c & 15u) | (a >> 6) << 4;
    t = c >> 4 | (b >> 6) << 4;
  }
  return make_float2(__fmul_rn(load_half(block), code_value(s, 0)),
                     __fmul_rn(load_half(block + 2), code_value(t, 0)));
}

__device__ __forceinline__ uint2 nibbles_of_256(const std::byte* nibbles, unsigned u) {
  uint2 codes = load_eight<8>(nibbles + u / 8 * 32 + u % 4 * kUnit);
  const unsigned shift = u % 8 < 4 ? 0 : 4;
  codes.x = codes.x >> shift & 0x0f0f0f0fu;
  codes.y = codes.y >> shift & 0x0f0f0f0fu;
  return codes;
}

template <>
struct Dequantiser<WeightFormat::kQ4_K> {
  static constexpr Meaning kMeaning = Meaning::kAffine;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const float2 run = scale_and_minimum(block, u / 4);
    const uint2 codes = nibbles_of_256(block + 16, u);
    Unit w;
    w.scale = run.x;
    w.minimum = -run.y;
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      w.at[i] = code_value(byte_of(codes, i), 0);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ5_K> {
  static constexpr Meaning kMeaning = Meaning::kAffine;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const float2 run = scale_and_minimum(block, u / 4);
    const uint2 codes = nibbles_of_256(block + 48, u);
    const uint2 fifth = bits_of_256<8>(block + 16, u);
    Unit w;
    w.scale = run.x;
    w.minimum = -run.y;
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      const unsigned q = byte_of(codes, i) | byte_of(fifth, i) << 4;
      w.at[i] = code_value(q, 0);
    }
    return w;
  }
};

template <>
struct Dequantiser<WeightFormat::kQ6_K> {
  static constexpr Meaning kMeaning = Meaning::kScaled;
  static __device__ __forceinline__ Unit unit(const std::byte* block, unsigned u) {
    const unsigned s = load_byte(block + 192 + u / 2) ^ 0x80u;
    uint2 codes = load_eight<2>(block + u / 16 * 64 + u % 8 * kUnit);
    const unsigned shift = u % 16 < 8 ? 0 : 4;
    codes.x = codes.x >> shift & 0x0f0f0f0fu;
    codes.y = codes.y >> shift & 0x0f0f0f0fu;
    const uint2 upper = pairs_of_256<2>(block + 128, u);
    Unit w;
    w.scale = __fmul_rn(load_half(block + 208), code_value(s, 128));
#pragma unroll
    for (unsigned i = 0; i < kUnit; ++i) {
      const unsigned q = byte_of(codes, i) | byte_of(upper, i) << 4;
      w.at[i] = code_value(q, 32);
    }
    return w;
  }
};

/// Units of a block, bytes of a block; of the plain formats: of eight elements.
template <WeightFormat F>
constexpr uint32_t kBlockUnits = weight_block(F).elements == 1 ? 1
                                                               : weight_block(F).elements / kUnit;
template <WeightFormat F>
constexpr uint32_t kBlockBytes = weight_block(F).elements == 1 ? kUnit* weight_block(F).bytes
                                                               : weight_block(F).bytes;

/// Unit `u` of a row that begins at `row`.
template <WeightFormat F>
__device__ __forceinline__ Unit unit_of_row(const std::byte* row, uint32_t u) {
  return Dequantiser<F>::unit(row + uint64_t{u / kBlockUnits<F>} * kBlockBytes<F>,
                              u % kBlockUnits<F>);
}

/// Value i of a unit, formed as the reference forms it.
template <WeightFormat F>
__device__ __forceinline__ float value_of_unit(const Unit& w, unsigned i) {
  if constexpr (Dequantiser<F>::kMeaning == Meaning::kPlain) {
    return w.at[i];
  } else if constexpr (Dequantiser<F>::kMeaning == Meaning::kScaled) {
    return __fmul_rn(w.scale, w.at[i]);
  } else {
    return __fadd_rn(__fmul_rn(w.scale, w.at[i]), w.minimum);
  }
}

}  // namespace ebb::kernels::cuda
