// Products with weights that stay in their stored format, and their conversion to f32. Part of
// inner.cpp.
//
// A thread owns a range of weight rows. Weights are expanded (scale and minimum applied) and then
// multiplied with every row of x while they are near. A row's sum is one vector of partial sums
// over the columns in ascending order, folded by a fixed tree: its bits depend on nothing but its
// own inputs.
//
// Each weight is rounded once, by the same operation in every way there is:
// - One row of x, and a few rows with the formats that are cheap to expand: in registers.
// - A few rows with the others: through a tile of a few weight rows in the first-level cache, which
//   all rows of x share.
// - Many rows: not here; panels are expanded (dequantize) and multiplied by oneDNN.
#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/inner_formats.h"
#include "kernels/cpu/inner_superblocks.h"
#include "kernels/cpu/simd.h"

namespace ebb::kernels::cpu {
namespace {

/// `weight_rows` weight rows from row `n` on against `x_rows` rows of x.
template <class Format, uint32_t weight_rows, uint32_t x_rows>
EBB_INLINE void gemv_rows(const GemvTask& t, uint64_t n, uint32_t first_x) {
  const uint64_t steps = t.columns / kStep;
  const std::byte* weight = t.weight + n * t.weight_stride;
  const float* x = t.x + first_x * t.columns;
  Floats sums[weight_rows][x_rows] = {};
  Scale scales[weight_rows][kScalesAhead];
  for (uint64_t begin = 0; begin < steps; begin += kScalesAhead) {
    const uint64_t end = begin + kScalesAhead < steps ? begin + kScalesAhead : steps;
    if constexpr (Format::kScaled) {
      for (uint32_t i = 0; i < weight_rows; ++i) {
        const std::byte* from = weight + i * t.weight_stride;
        for (uint64_t s = begin; s < end; ++s) {
          scales[i][s - begin] = Format::scale(from + s * Format::kBytes);
        }
      }
    }
    for (uint64_t s = begin; s < end; ++s) {
      Expanded w[weight_rows];
#pragma GCC unroll 8
      for (uint32_t i = 0; i < weight_rows; ++i) {
        w[i] =
            Format::expand(weight + i * t.weight_stride + s * Format::kBytes, scales[i][s - begin]);
      }
#pragma GCC unroll 8
      for (uint32_t r = 0; r < x_rows; ++r) {
#pragma GCC unroll 8
        for (uint32_t v = 0; v < kStepVectors; ++v) {
          Floats values = load(x + r * t.columns + s * kStep + v * kLanes);
          if constexpr (weight_rows > 1) keep_in_register(values);
#pragma GCC unroll 8
          for (uint32_t i = 0; i < weight_rows; ++i) sums[i][r] += w[i].part[v] * values;
        }
      }
    }
  }
  for (uint32_t i = 0; i < weight_rows; ++i) {
    for (uint32_t r = 0; r < x_rows; ++r) {
      float sum = sum_lanes(sums[i][r]);
      if constexpr (HasTail<Format>) {
        constexpr uint32_t element = Format::kBytes / kStep;
        for (uint64_t k = steps * kStep; k < t.columns; ++k) {
          sum += Format::scalar(weight + i * t.weight_stride + k * element) * x[r * t.columns + k];
        }
      }
      t.out[(first_x + r) * t.out_stride + n + i] = sum;
    }
  }
}

/// Weight rows taken together: enough independent sums to hide the latency of a multiply-add, few
/// enough to stay in registers (32 with AVX-512, 16 before).
template <class Format, uint32_t x_rows>
void gemv_panel(const GemvTask& t, uint32_t first_x) {
  constexpr uint32_t together = x_rows == 1                   ? 4
                                : kLanes == 16 && x_rows == 2 ? 4
                                : kLanes == 16 || x_rows == 2 ? 2
                                                              : 1;
  uint64_t n = t.row_begin;
  for (; n + together <= t.row_end; n += together)
    gemv_rows<Format, together, x_rows>(t, n, first_x);
  for (; n < t.row_end; ++n) gemv_rows<Format, 1, x_rows>(t, n, first_x);
}

template <class Format>
void gemv_one(const GemvTask& t) {
  gemv_panel<Format, 1>(t, 0);
}

template <class Format>
void gemv_format(const GemvTask& t) {
  uint32_t done = 0;
  while (t.rows - done >= 8) gemv_panel<Format, 8>(t, done), done += 8;
  while (t.rows - done >= 4) gemv_panel<Format, 4>(t, done), done += 4;
  while (t.rows - done >= 2) gemv_panel<Format, 2>(t, done), done += 2;
  while (t.rows - done >= 1) gemv_panel<Format, 1>(t, done), done += 1;
}

/// Columns of a tile, and the weight rows in it.
constexpr uint32_t kTileColumns = 512;
constexpr uint32_t kTileRows = 4;

/// Sums of a tile's rows with every row of x, carried from tile to tile.
struct TileSums {
  Floats sum[kTileRows][kGemvRowsMax];
};

/// Adds `columns` of `weight_rows` rows of the tile, from row `w` on, times `x_rows` rows of x,
/// from row `r` on.
template <uint32_t weight_rows, uint32_t x_rows>
EBB_INLINE void add_tile(const float* tile, const GemvTask& t, uint64_t begin, uint64_t columns,
                         uint32_t w, uint32_t r, TileSums& to) {
  Floats sums[weight_rows][x_rows];
  for (uint32_t i = 0; i < weight_rows; ++i) {
    for (uint32_t k = 0; k < x_rows; ++k) sums[i][k] = to.sum[w + i][r + k];
  }
  const float* x = t.x + r * t.columns + begin;
  tile += w * kTileColumns;
  for (uint64_t c = 0; c < columns; c += kLanes) {
    Floats values[x_rows];
#pragma GCC unroll 4
    for (uint32_t k = 0; k < x_rows; ++k) values[k] = load(x + k * t.columns + c);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < weight_rows; ++i) {
      const Floats weights = load(tile + i * kTileColumns + c);
#pragma GCC unroll 4
      for (uint32_t k = 0; k < x_rows; ++k) sums[i][k] += weights * values[k];
    }
  }
  for (uint32_t i = 0; i < weight_rows; ++i) {
    for (uint32_t k = 0; k < x_rows; ++k) to.sum[w + i][r + k] = sums[i][k];
  }
}

/// A tile of kTileRows rows (what is missing of them holds anything) times every row of x, in
/// shapes whose sums stay in registers.
void add_tile_to_all(const float* tile, const GemvTask& t, uint64_t begin, uint64_t columns,
                     TileSums& to) {
  uint32_t r = 0;
  for (; r + 4 <= t.rows; r += 4) {
    if constexpr (kLanes == 16) {
      add_tile<4, 4>(tile, t, begin, columns, 0, r, to);
    } else {
      add_tile<2, 4>(tile, t, begin, columns, 0, r, to);
      add_tile<2, 4>(tile, t, begin, columns, 2, r, to);
    }
  }
  if (r + 2 <= t.rows) {
    add_tile<4, 2>(tile, t, begin, columns, 0, r, to);
    r += 2;
  }
  if (r < t.rows) add_tile<4, 1>(tile, t, begin, columns, 0, r, to);
}

using ExpandElements = void (*)(const std::byte* from, uint64_t count, float* out);

void gemv_tiled(const GemvTask& t, ExpandElements expand, WeightBlock block) {
  alignas(64) float tile[kTileRows * kTileColumns] = {};
  for (uint64_t n = t.row_begin; n < t.row_end; n += kTileRows) {
    const uint64_t left = t.row_end - n;
    const uint32_t rows = left < kTileRows ? static_cast<uint32_t>(left) : kTileRows;
    const std::byte* weight = t.weight + n * t.weight_stride;
    TileSums sums = {};
    for (uint64_t c = 0; c < t.columns; c += kTileColumns) {
      const uint64_t columns = t.columns - c < kTileColumns ? t.columns - c : kTileColumns;
      const std::byte* from = weight + c / block.elements * block.bytes;
      for (uint32_t i = 0; i < rows; ++i) {
        expand(from + i * t.weight_stride, columns, tile + i * kTileColumns);
      }
      add_tile_to_all(tile, t, c, columns, sums);
    }
    for (uint32_t i = 0; i < rows; ++i) {
      for (uint32_t r = 0; r < t.rows; ++r) {
        t.out[r * t.out_stride + n + i] = sum_lanes(sums.sum[i][r]);
      }
    }
  }
}

using Gemv = void (*)(const GemvTask& task);
struct FormatKernels {
  ExpandElements expand;
  Gemv one_row;    ///< of x
  Gemv more_rows;  ///< null: by tiles
};
constexpr FormatKernels kFormatKernels[kWeightFormats] = {
    {expand_elements<F32Format>, gemv_one<F32Format>, gemv_format<F32Format>},
    {expand_elements<F16Format>, gemv_one<F16Format>, gemv_format<F16Format>},
    {expand_elements<BF16Format>, gemv_one<BF16Format>, gemv_format<BF16Format>},
    {expand_elements<Q8_0Format>, gemv_one<Q8_0Format>, gemv_format<Q8_0Format>},
    {expand_elements<Q4_0Format>, gemv_one<Q4_0Format>, gemv_format<Q4_0Format>},
    {expand_elements<Q4_1Format>, gemv_one<Q4_1Format>, gemv_format<Q4_1Format>},
    {expand_elements<Q5_0Format>, gemv_one<Q5_0Format>, nullptr},
    {expand_elements<Q5_1Format>, gemv_one<Q5_1Format>, nullptr},
    {expand_superblocks<Q2_KFormat>, gemv_superblocks<Q2_KFormat>, nullptr},
    {expand_superblocks<Q3_KFormat>, gemv_superblocks<Q3_KFormat>, nullptr},
    {expand_superblocks<Q4_KFormat>, gemv_superblocks<Q4_KFormat>, nullptr},
    {expand_superblocks<Q5_KFormat>, gemv_superblocks<Q5_KFormat>, nullptr},
    {expand_superblocks<Q6_KFormat>, gemv_superblocks<Q6_KFormat>, nullptr},
    {expand_elements<IQ4_NLFormat>, gemv_one<IQ4_NLFormat>, nullptr},
};

void gemv(const GemvTask& t) {
  const auto index = static_cast<uint32_t>(t.format);
  const FormatKernels& kernels = kFormatKernels[index];
  if (t.rows == 1) return kernels.one_row(t);
  if (kernels.more_rows != nullptr) return kernels.more_rows(t);
  gemv_tiled(t, kernels.expand, kWeightBlocks[index]);
}

void dequantize(WeightFormat format, const std::byte* from, uint64_t count, float* out) {
  kFormatKernels[static_cast<uint32_t>(format)].expand(from, count, out);
}

}  // namespace
}  // namespace ebb::kernels::cpu
