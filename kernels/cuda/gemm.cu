// See gemm.h. Our own kernel: a block owns 64 rows of x by 64 outputs; its 256 threads hold 4 x 4
// sums each, in f32, and walk along the columns 16 at a time through shared memory. It asks for
// nothing of alignment or size: it is there so that nothing depends on another library, not to be
// the fastest.
#include "kernels/cuda/gemm.h"

#include <algorithm>

#include "kernels/cuda/cublas_lt.h"

namespace ebb::kernels::cuda {
namespace {

constexpr unsigned kTile = 64;   ///< rows and outputs of a block
constexpr unsigned kDepth = 16;  ///< columns at a time
constexpr unsigned kSide = 4;    ///< rows and outputs of a thread
constexpr unsigned kThreads = kTile / kSide * (kTile / kSide);

__device__ __forceinline__ float value_of(float x) { return x; }
__device__ __forceinline__ float value_of(unsigned short bits) {
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

/// Columns [column, column + kDepth) of 64 rows into tile[depth][row]; 0 where there are none. One
/// float more a line keeps the threads of a warp, which write down a column, in different banks.
template <class T>
__device__ __forceinline__ void fill_tile(float (&tile)[kDepth][kTile + 1], const T* from,
                                          uint64_t stride, uint64_t rows_left,
                                          uint64_t columns_left) {
  for (unsigned i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
    const unsigned row = i / kDepth, depth = i % kDepth;
    const bool there = row < rows_left && depth < columns_left;
    tile[depth][row] = there ? value_of(from[row * stride + depth]) : 0.0f;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) own_gemm_kernel(Gemm::Product p) {
  __shared__ float x_tile[kDepth][kTile + 1];
  __shared__ float w_tile[kDepth][kTile + 1];
  const uint64_t first_row = uint64_t{blockIdx.y} * kTile;
  const uint64_t first_output = uint64_t{blockIdx.x} * kTile;
  const unsigned row = threadIdx.x / (kTile / kSide) * kSide;
  const unsigned output = threadIdx.x % (kTile / kSide) * kSide;
  float sum[kSide][kSide] = {};
  for (uint64_t k = 0; k < p.columns; k += kDepth) {
    __syncthreads();
    fill_tile(x_tile, p.d_x + first_row * p.columns + k, p.columns, p.rows - first_row,
              p.columns - k);
    fill_tile(w_tile, static_cast<const T*>(p.d_w) + first_output * p.w_stride + k, p.w_stride,
              p.outputs - first_output, p.columns - k);
    __syncthreads();
    for (unsigned d = 0; d < kDepth; ++d) {
#pragma unroll
      for (unsigned r = 0; r < kSide; ++r) {
#pragma unroll
        for (unsigned c = 0; c < kSide; ++c) {
          sum[r][c] = fmaf(x_tile[d][row + r], w_tile[d][output + c], sum[r][c]);
        }
      }
    }
  }
  for (unsigned r = 0; r < kSide; ++r) {
    for (unsigned c = 0; c < kSide; ++c) {
      if (first_row + row + r >= p.rows || first_output + output + c >= p.outputs) continue;
      p.d_out[(first_row + row + r) * p.out_stride + first_output + output + c] = sum[r][c];
    }
  }
}

class OwnGemm final : public Gemm {
 public:
  OwnGemm(GemmInputs inputs, std::string why) : inputs_(inputs), why_(std::move(why)) {}

  WeightFormat weight_format() const override {
    return inputs_ == GemmInputs::kBf16 ? WeightFormat::kBF16 : WeightFormat::kF32;
  }

  void multiply(CudaContext& context, const Product& product) override {
    if (product.rows == 0 || product.outputs == 0 || context.failed()) return;
    // A grid has at most 65535 blocks of rows: more rows than that many tiles are several launches.
    constexpr uint32_t kRowsMax = 65535 * kTile;
    for (uint32_t done = 0; done < product.rows; done += std::min(product.rows - done, kRowsMax)) {
      Product part = product;
      part.rows = std::min(product.rows - done, kRowsMax);
      part.d_x += done * product.columns;
      part.d_out += done * product.out_stride;
      const dim3 grid(static_cast<unsigned>((part.outputs + kTile - 1) / kTile),
                      (part.rows + kTile - 1) / kTile);
      const Launch shape = context.shape(grid, kThreads);
      if (weight_format() == WeightFormat::kBF16) {
        launch(shape, &own_gemm_kernel<unsigned short>, part);
      } else {
        launch(shape, &own_gemm_kernel<float>, part);
      }
      context.check_launch("matmul of many rows");
    }
  }

  std::string name() const override { return "own kernel (" + why_ + ")"; }

 private:
  GemmInputs inputs_;
  std::string why_;
};

}  // namespace

std::unique_ptr<Gemm> make_own_gemm(GemmInputs inputs, const std::string& why) {
  return std::make_unique<OwnGemm>(inputs, why);
}

std::unique_ptr<Gemm> Gemm::make(CudaContext& context, GemmInputs inputs) {
  std::string why;
  std::unique_ptr<Gemm> found = make_cublas_lt(context, inputs, why);
  return found != nullptr ? std::move(found) : make_own_gemm(inputs, why);
}

}  // namespace ebb::kernels::cuda
