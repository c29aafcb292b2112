// x times a weight transposed. Few rows: the weight is read once, in its stored format (memory
// decides). Many rows: panels of the weight are expanded to f32 and multiplied by oneDNN
// (arithmetic decides).
#include <algorithm>
#include <memory>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_weight.h"
#include "kernels/cpu/product.h"

namespace ebb::kernels::cpu {
namespace {

/// Weights below which a second thread costs more than it saves.
constexpr uint64_t kParallelWeights = 64 * 1024;
/// Ranges per thread: a thread that the system takes away for a while must not hold up the others
/// for long.
constexpr uint64_t kRangesPerThread = 4;
/// Floats of one expanded panel (512 KiB): stays in the second-level cache beside the tile of x.
constexpr uint64_t kPanelFloats = 128 * 1024;
constexpr uint64_t kPanelRowsMin = 16;

}  // namespace

void CpuOps::matmul(const float* d_x, uint32_t rows, const Weight& w, float* d_out,
                    uint64_t out_stride) {
  EBB_CHECK(out_stride >= w.rows());
  if (rows == 0) return;
  if (rows <= kGemvRowsMax) {
    matmul_few_rows(d_x, rows, own(w), d_out, out_stride);
    return;
  }
  matmul_many_rows(d_x, rows, own(w), d_out, out_stride);
}

void CpuOps::matmul_few_rows(const float* x, uint32_t rows, const CpuWeight& w, float* out,
                             uint64_t out_stride) {
  const WeightSource& source = w.source();
  GemvTask whole;
  whole.format = source.format;
  whole.weight = source.data;
  whole.weight_stride = source.row_stride;
  whole.columns = source.columns;
  whole.row_end = source.rows;
  whole.x = x;
  whole.rows = rows;
  whole.out = out;
  whole.out_stride = out_stride;
  if (threads_ == 1 || source.rows * source.columns * rows < kParallelWeights) {
    inner_.gemv(whole);
    return;
  }
  const uint64_t ranges = std::min<uint64_t>(threads_ * kRangesPerThread, source.rows);
  // Whole groups of four rows, as the inner loop takes them.
  const uint64_t length = ((source.rows + ranges - 1) / ranges + 3) / 4 * 4;
  team_.run(threads_, (source.rows + length - 1) / length, [&](uint64_t i) {
    GemvTask part = whole;
    part.row_begin = i * length;
    part.row_end = std::min(part.row_begin + length, source.rows);
    inner_.gemv(part);
  });
}

void CpuOps::matmul_many_rows(const float* x, uint32_t rows, const CpuWeight& w, float* out,
                              uint64_t out_stride) {
  const WeightSource& source = w.source();
  const uint64_t columns = source.columns;
  const uint64_t panel = std::max(kPanelRowsMin, kPanelFloats / columns);
  team_.run(threads_, (source.rows + panel - 1) / panel, [&](uint64_t i) {
    const uint64_t begin = i * panel;
    const uint64_t count = std::min(panel, source.rows - begin);
    const auto expanded = std::make_unique_for_overwrite<float[]>(count * columns);
    for (uint64_t n = 0; n < count; ++n) {
      inner_.dequantize(source.format, w.row(begin + n), columns, expanded.get() + n * columns);
    }
    product({rows, count, columns, columns, columns, out_stride}, x, expanded.get(),
            Transposed::kYes, 0.0f, out + begin);
  });
}

}  // namespace ebb::kernels::cpu
