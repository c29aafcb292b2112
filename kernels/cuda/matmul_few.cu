// See matmul_few.h.
//
// A warp owns R neighbouring outputs for all rows, or shares them with other warps of its block
// that take every second or fourth run of 32 units. Lane l's units are l, l + 32, ...: a warp reads
// neighbouring bytes of a weight row, and a unit's eight x of each row are two loads that the R
// outputs share (x comes out of L1 and L2: it is small beside the weight). Each lane sums its units
// in order in f32, then lanes are added, then warps. Neither R nor the number of rows enters the
// order.
#include "kernels/cuda/matmul_few.h"

#include <algorithm>

#include "kernels/cuda/dequantise.cuh"
#include "kernels/cuda/matmul_shapes.h"
#include "kernels/cuda/with_format.h"

namespace ebb::kernels::cuda {
namespace {

struct FewArgs {
  FewProduct p;
  uint32_t warps;  ///< of an output
  bool wide;       ///< rows of x are aligned to 16 bytes and made of whole units
};

/// Eight x at `from`, of which `left` exist.
__device__ __forceinline__ Unit load_x(const float* from, uint32_t left, bool wide) {
  Unit x;
  if (wide) {
    const auto* wides = reinterpret_cast<const float4*>(from);
    const float4 a = wides[0], b = wides[1];
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  }
#pragma unroll
  for (unsigned i = 0; i < kUnit; ++i) x.at[i] = i < left ? from[i] : 0.0f;
  return x;
}

__device__ __forceinline__ float dot(float sum, const Unit& x, const Unit& w) {
#pragma unroll
  for (uint32_t i = 0; i < kUnit; ++i) sum = fmaf(x.at[i], w.at[i], sum);
  return sum;
}

/// sum + x . w over one unit. `total`: the sum of the eight x, where the format has a minimum.
template <WeightFormat F>
__device__ __forceinline__ float add_unit(float sum, const Unit& x, float total, const Unit& w) {
  if constexpr (Dequantiser<F>::kMeaning == Meaning::kPlain) {
    return dot(sum, x, w);
  } else if constexpr (Dequantiser<F>::kMeaning == Meaning::kScaled) {
    return fmaf(w.scale, dot(0, x, w), sum);
  } else {
    return fmaf(w.scale, dot(0, x, w), fmaf(w.minimum, total, sum));
  }
}

__device__ __forceinline__ float total_of(const Unit& x) {
  return __fadd_rn(__fadd_rn(__fadd_rn(x.at[0], x.at[1]), __fadd_rn(x.at[2], x.at[3])),
                   __fadd_rn(__fadd_rn(x.at[4], x.at[5]), __fadd_rn(x.at[6], x.at[7])));
}

/// The sums of this lane: R outputs from `first` on, `Rows` rows.
template <WeightFormat F, uint32_t Rows, uint32_t R>
__device__ __forceinline__ void sum_units(const FewArgs& a, uint64_t first, uint32_t part,
                                          float (&sum)[R][Rows]) {
  const std::byte* row[R];
#pragma unroll
  for (uint32_t r = 0; r < R; ++r) row[r] = a.p.d_w + min(first + r, a.p.outputs - 1) * a.p.pitch;
  const uint32_t units = (a.p.columns + kUnit - 1) / kUnit;
  for (uint32_t u = part * kWarp + lane_id(); u < units; u += a.warps * kWarp) {
    Unit w[R];
#pragma unroll
    for (uint32_t r = 0; r < R; ++r) w[r] = unit_of_row<F>(row[r], u);
#pragma unroll
    for (uint32_t m = 0; m < Rows; ++m) {
      // Rows that are not there are computed like the last one, and not written.
      const float* from = a.p.d_x + uint64_t{min(m, a.p.rows - 1)} * a.p.columns + u * kUnit;
      const Unit x = load_x(from, a.p.columns - u * kUnit, a.wide);
      const float total = Dequantiser<F>::kMeaning == Meaning::kAffine ? total_of(x) : 0.0f;
#pragma unroll
      for (uint32_t r = 0; r < R; ++r) sum[r][m] = add_unit<F>(sum[r][m], x, total, w[r]);
    }
  }
}

template <WeightFormat F, uint32_t Rows, uint32_t R>
__global__ void __launch_bounds__(kFewWarps* kWarp) few_kernel(FewArgs a) {
  __shared__ float sums[kFewWarps][R * Rows];
  const uint32_t part = warp_id() % a.warps;
  const uint64_t group = uint64_t{blockIdx.x} * (kFewWarps / a.warps) + warp_id() / a.warps;
  const uint64_t first = group * R;
  float sum[R][Rows] = {};
  if (first < a.p.outputs) sum_units<F, Rows, R>(a, first, part, sum);
#pragma unroll
  for (uint32_t r = 0; r < R; ++r) {
#pragma unroll
    for (uint32_t m = 0; m < Rows; ++m) {
      const float all = warp_sum(sum[r][m]);
      if (lane_id() == 0) sums[warp_id()][r * Rows + m] = all;
    }
  }
  __syncthreads();
  if (part != 0 || lane_id() >= R * Rows) return;
  const uint32_t r = lane_id() / Rows, m = lane_id() % Rows;
  if (first + r >= a.p.outputs || m >= a.p.rows) return;
  float all = 0;
  for (uint32_t w = 0; w < a.warps; ++w) all += sums[warp_id() + w][lane_id()];
  a.p.d_out[m * a.p.out_stride + first + r] = all;
}

template <WeightFormat F, uint32_t Rows>
void launch_few(CudaContext& context, const FewArgs& args) {
  constexpr uint32_t kOutputs = few_outputs_per_warp(Rows);
  static_assert(kOutputs * Rows <= kWarp, "a lane writes one result");
  const uint32_t blocks = few_blocks(args.p.outputs, kOutputs, args.warps);
  launch(context.shape(blocks, kFewWarps * kWarp), &few_kernel<F, Rows, kOutputs>, args);
}

}  // namespace

void multiply_few(CudaContext& context, const FewProduct& product) {
  if (product.rows == 0 || context.failed()) return;
  FewArgs args{product, 1, false};
  args.warps = few_warps_per_output(product.outputs, product.columns, context.multiprocessors());
  args.wide = product.columns % kUnit == 0 && reinterpret_cast<uintptr_t>(product.d_x) % 16 == 0;
  with_format(product.format, [&](auto tag) {
    constexpr WeightFormat kFormat = decltype(tag)::kFormat;
    if (product.rows == 1) return launch_few<kFormat, 1>(context, args);
    if (product.rows == 2) return launch_few<kFormat, 2>(context, args);
    if (product.rows <= 4) return launch_few<kFormat, 4>(context, args);
    return launch_few<kFormat, 8>(context, args);
  });
  context.check_launch("matmul of few rows");
}

}  // namespace ebb::kernels::cuda
