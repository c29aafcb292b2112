// CRC-32C (RFC 3720), as base/checksum.h has it, by the 32 lanes of a warp.
//
// A running sum is a polynomial over GF(2) modulo P, kept reflected: bit 31 is the constant term,
// and a zero bit of input multiplies by x. A word that is added before its 32 zero bits has the
// weight x^32; so over words w_0 .. w_{n-1}
//   sum = seed * x^(32 n) + sum_i w_i * x^(32 (n - i)),
// and the seed (all ones) is added to w_0. Lane l takes words l, l + 32, ...: it multiplies what it
// has by x^1024 before each further word (four look-ups in a table), at the end by x^(32 * what
// follows its last word), and the lanes' parts are added. Neighbouring lanes read neighbouring
// words.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace ebb::kernels::cuda {

constexpr uint32_t kCrcPolynomial = 0x82f63b78u;
constexpr uint32_t kCrcOne = 0x80000000u;
/// Entries of the table: four bytes of 256 values.
constexpr uint32_t kCrcTable = 1024;

__host__ __device__ constexpr uint32_t crc_times_x(uint32_t a) {
  return (a >> 1) ^ ((a & 1u) != 0 ? kCrcPolynomial : 0u);
}

__host__ __device__ constexpr uint32_t crc_multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kCrcOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = crc_times_x(b);
  }
  return product;
}

/// x^n mod P.
__host__ __device__ constexpr uint32_t crc_power(uint64_t n) {
  uint32_t power = kCrcOne, square = kCrcOne >> 1;
  for (; n > 0; n >>= 1) {
    if ((n & 1u) != 0) power = crc_multiply(power, square);
    square = crc_multiply(square, square);
  }
  return power;
}

/// The table of products with x^1024, into shared memory, by all threads of a block; a barrier
/// follows. The four bytes of a word stand for its coefficients of x^24, x^16, x^8 and 1 and up.
__device__ __forceinline__ void crc_fill_table(uint32_t* table) {
  constexpr uint32_t kStride = 32 * kWarp;
  constexpr uint32_t kBytes[4] = {crc_power(kStride + 24), crc_power(kStride + 16),
                                  crc_power(kStride + 8), crc_power(kStride)};
#pragma unroll
  for (uint32_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = threadIdx.x; value < 256; value += blockDim.x) {
      uint32_t product = 0, term = kBytes[byte];
      for (uint32_t bit = 128; bit != 0; bit >>= 1) {
        if ((value & bit) != 0) product ^= term;
        term = crc_times_x(term);
      }
      table[byte * 256 + value] = product;
    }
  }
  __syncthreads();
}

/// A lane's part of the sum of a sequence of words.
class CrcLane {
 public:
  /// `words` of the whole sequence, at least one.
  __device__ CrcLane(const uint32_t* table, uint32_t words)
      : table_(table), skipped_((kWarp - words % kWarp) % kWarp) {}

  /// Words in front of the sequence, of value 0 and without effect, that make it a multiple of 32
  /// long: word i is taken by lane (i + skipped) % 32, in ascending order.
  __device__ uint32_t skipped() const { return skipped_; }

  __device__ void add(uint32_t word, bool first_of_all) {
    const uint32_t moved = table_[sum_ & 255u] ^ table_[256 + (sum_ >> 8 & 255u)] ^
                           table_[512 + (sum_ >> 16 & 255u)] ^ table_[768 + (sum_ >> 24)];
    sum_ = moved ^ word ^ (first_of_all ? ~0u : 0u);
  }

  /// The CRC of the whole, in every lane of the warp.
  __device__ uint32_t finish() {
    constexpr uint32_t kWords[6] = {crc_power(32),  crc_power(64),  crc_power(128),
                                    crc_power(256), crc_power(512), crc_power(1024)};
    uint32_t part = sum_;
    const uint32_t after = kWarp - lane_id();  // its last word's own 32 bits included
#pragma unroll
    for (uint32_t i = 0; i < 6; ++i) {
      if ((after >> i & 1u) != 0) part = crc_multiply(kWords[i], part);
    }
    for (unsigned step = kWarp / 2; step > 0; step /= 2) {
      part ^= __shfl_xor_sync(kAllLanes, part, static_cast<int>(step));
    }
    return ~part;
  }

 private:
  const uint32_t* table_;
  uint32_t skipped_;
  uint32_t sum_ = 0;
};

}  // namespace ebb::kernels::cuda
