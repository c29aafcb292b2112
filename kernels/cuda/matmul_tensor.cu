// See matmul_tensor.h.
//
// Tensor cores multiply bf16. Weights are; x is cut into three bf16 numbers whose sum it is (eight
// bits of its mantissa each, so the cut loses nothing), and each weight is multiplied with all
// three: three times the products, which are free while the weight's bytes are waited for.
//
// A block of eight warps owns 16 outputs of all rows; warp w takes runs w, w + 8, ... of 64
// columns. A lane loads sixteen bytes, eight neighbouring weights of one output: the tile's columns
// are taken in the order in which lanes then hold them, the same for weights and x. Each run's sums
// start at 0 and are added to the warp's in f32, so that the tensor cores' own rounding cannot pile
// up; the warps are added in order at the end.
#include "kernels/cuda/matmul_tensor.h"

#include <algorithm>

#include "kernels/cuda/launch_shapes.h"
#include "kernels/cuda/tensor_core.cuh"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;
constexpr uint32_t kOutputs = 16;  ///< of a tile
constexpr uint32_t kColumns = 8;   ///< rows of x that a tile takes
constexpr uint32_t kRun = 64;
constexpr uint32_t kParts = 3;

/// x [count] to parts [kParts][count], largest part first. What is not finite stays in the first.
__global__ void cut_kernel(const float* x, uint64_t count, unsigned short* parts) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    float rest = x[i];
    for (uint32_t p = 0; p < kParts; ++p) {
      const unsigned short bits = to_bf16_bits(rest);
      parts[p * count + i] = bits;
      const float taken = __uint_as_float(static_cast<unsigned>(bits) << 16);
      rest = fabsf(taken) <= 3.4e38f ? rest - taken : 0.0f;
    }
  }
}

struct TensorArgs {
  FewProduct p;
  const unsigned short* d_parts;  ///< [kParts][rows, columns]
};

__device__ __forceinline__ uint4 load_wide(const void* from) {
  return *static_cast<const uint4*>(from);
}

/// The products of one run: 16 outputs, Tiles * 8 rows.
template <uint32_t Tiles>
__device__ __forceinline__ void add_run(const TensorArgs& a, const std::byte* const (&row)[2],
                                        uint32_t column, TileC (&sum)[Tiles]) {
  const uint32_t at = column + lane_id() % 4 * 8;
  uint4 w[2][2];  // half of the run, row
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
    for (uint32_t r = 0; r < 2; ++r) w[half][r] = load_wide(row[r] + (at + half * 32) * 2);
  }
  const uint64_t part_stride = uint64_t{a.p.rows} * a.p.columns;
#pragma unroll
  for (uint32_t tile = 0; tile < Tiles; ++tile) {
    TileC run = {};
    const uint32_t m = tile * kColumns + lane_id() / 4;
#pragma unroll
    for (uint32_t part = kParts; part-- > 0;) {  // small ones first
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        uint4 x = make_uint4(0, 0, 0, 0);
        if (m < a.p.rows) {
          x = load_wide(a.d_parts + part * part_stride + uint64_t{m} * a.p.columns + at +
                        half * 32);
        }
        const uint4 first = w[half][0], second = w[half][1];
        multiply_add(run, {{first.x, second.x, first.y, second.y}}, {{x.x, x.y}});
        multiply_add(run, {{first.z, second.z, first.w, second.w}}, {{x.z, x.w}});
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) sum[tile].at[i] += run.at[i];
  }
}

template <uint32_t Tiles>
__global__ void __launch_bounds__(kWarps* kWarp) tensor_kernel(TensorArgs a) {
  __shared__ float sums[kWarps][Tiles * kColumns][kOutputs];
  const uint64_t first = uint64_t{blockIdx.x} * kOutputs;
  const uint64_t last = a.p.outputs - 1;
  const uint64_t g = lane_id() / 4;
  const std::byte* const row[2] = {a.p.d_w + min(first + g, last) * a.p.pitch,
                                   a.p.d_w + min(first + g + 8, last) * a.p.pitch};
  TileC sum[Tiles] = {};
#pragma unroll 2
  for (uint32_t column = warp_id() * kRun; column < a.p.columns; column += kWarps * kRun) {
    add_run<Tiles>(a, row, column, sum);
  }
#pragma unroll
  for (uint32_t tile = 0; tile < Tiles; ++tile) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t m = tile * kColumns + lane_id() % 4 * 2 + i % 2;
      sums[warp_id()][m][lane_id() / 4 + i / 2 * 8] = sum[tile].at[i];
    }
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < a.p.rows * kOutputs; i += blockDim.x) {
    const uint32_t m = i / kOutputs, n = i % kOutputs;
    float all = 0;
    for (uint32_t w = 0; w < kWarps; ++w) all += sums[w][m][n];
    if (first + n < a.p.outputs) a.p.d_out[m * a.p.out_stride + first + n] = all;
  }
}

}  // namespace

bool fits_tensor(const FewProduct& product) {
  return product.format == WeightFormat::kBF16 && product.columns % kRun == 0 &&
         product.outputs <= uint64_t{0x7fffffff} * kOutputs;
}

void multiply_tensor(CudaContext& context, const FewProduct& product) {
  if (product.rows == 0 || context.failed()) return;
  const uint64_t count = uint64_t{product.rows} * product.columns;
  auto* d_parts = context.scratch_of<unsigned short>(CudaContext::kInputs, kParts * count);
  if (d_parts == nullptr) return;
  const FlatShape flat = flat_shape(count, context.multiprocessors());
  launch(context.shape(flat.blocks, flat.threads), &cut_kernel, product.d_x, count, d_parts);
  const TensorArgs args{product, d_parts};
  const Launch shape = context.shape(
      static_cast<unsigned>((product.outputs + kOutputs - 1) / kOutputs), kWarps * kWarp);
  if (product.rows <= 2 * kColumns) {
    launch(shape, &tensor_kernel<2>, args);
  } else {
    launch(shape, &tensor_kernel<4>, args);
  }
  context.check_launch("matmul on tensor cores");
}

}  // namespace ebb::kernels::cuda
