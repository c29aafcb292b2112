// See weights.h.
#include "kernels/cuda/weights.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cuda/dequantise.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/launch_shapes.h"
#include "kernels/cuda/matmul_few.h"
#include "kernels/cuda/matmul_shapes.h"
#include "kernels/cuda/matmul_tensor.h"
#include "kernels/cuda/with_format.h"
#include "kernels/weight_check.h"

namespace ebb::kernels::cuda {
namespace {

struct DequantiseArgs {
  const std::byte* d_w;
  uint64_t pitch;
  const TokenId* d_ids;  ///< which row of the weight each row of out is; null: the same
  uint64_t count;        ///< units: rows * units of a row
  uint32_t units;        ///< of a row
  uint32_t columns;
  void* d_out;  ///< [rows, columns]
};

__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(unsigned short* to, float value) {
  *to = to_bf16_bits(value);
}

/// One thread to a unit; out rows without gaps, so a row's last unit may be short.
template <WeightFormat F, class Out>
__global__ void dequantise_kernel(DequantiseArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const uint64_t row = i / a.units;
    const auto u = static_cast<uint32_t>(i % a.units);
    const uint64_t from = a.d_ids == nullptr ? row : static_cast<uint64_t>(a.d_ids[row]);
    const Unit w = unit_of_row<F>(a.d_w + from * a.pitch, u);
    Out* to = static_cast<Out*>(a.d_out) + row * a.columns + u * kUnit;
    const uint32_t left = a.columns - u * kUnit;
#pragma unroll
    for (uint32_t e = 0; e < kUnit; ++e) {
      if (e < left) store(to + e, value_of_unit<F>(w, e));
    }
  }
}

/// `rows` rows of a weight that begin at d_w (or those that d_ids names) as f32, or as bf16.
template <class Out>
void dequantise(CudaContext& context, WeightFormat format, DequantiseArgs args, uint64_t rows) {
  args.units = (args.columns + kUnit - 1) / kUnit;
  args.count = rows * args.units;
  if (args.count == 0 || context.failed()) return;
  const FlatShape shape = flat_shape(args.count, context.multiprocessors());
  with_format(format, [&](auto tag) {
    launch(context.shape(shape.blocks, shape.threads),
           &dequantise_kernel<decltype(tag)::kFormat, Out>, args);
  });
  context.check_launch("dequantise");
}

DequantiseArgs args_of(const std::byte* d_w, uint64_t pitch, uint64_t columns, void* d_out) {
  DequantiseArgs args{};
  args.d_w = d_w;
  args.pitch = pitch;
  args.columns = static_cast<uint32_t>(columns);
  args.d_out = d_out;
  return args;
}

/// The source's rows to d_to, `pitch` bytes apart, with zeros between them. The source is pageable,
/// so it goes through pinned memory, in pieces so large that there are few of them; while one is on
/// its way the next is read.
void upload_rows(CudaContext& context, const WeightSource& source, uint64_t pitch,
                 std::byte* d_to) {
  constexpr uint64_t kPiece = uint64_t{16} << 20;
  const uint64_t row_bytes = weight_row_bytes(source.format, source.columns);
  const uint64_t piece_rows = std::clamp<uint64_t>(kPiece / pitch, 1, source.rows);
  const uint64_t piece = piece_rows * pitch;
  auto* stage =
      static_cast<std::byte*>(context.pinned(piece < source.rows * pitch ? 2 * piece : piece));
  cudaEvent_t sent[2] = {};
  for (cudaEvent_t& event : sent) {
    context.check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  }
  uint64_t turn = 0;
  for (uint64_t first = 0; first < source.rows && !context.failed(); first += piece_rows, ++turn) {
    const uint64_t rows = std::min(piece_rows, source.rows - first);
    std::byte* half = stage + turn % 2 * piece;
    if (turn >= 2) context.check(cudaEventSynchronize(sent[turn % 2]), "uploading a weight");
    for (uint64_t r = 0; r < rows; ++r) {
      std::memcpy(half + r * pitch, source.data + (first + r) * source.row_stride, row_bytes);
      std::memset(half + r * pitch + row_bytes, 0, pitch - row_bytes);
    }
    context.check(cudaMemcpyAsync(d_to + first * pitch, half, rows * pitch, cudaMemcpyHostToDevice,
                                  context.stream()),
                  "uploading a weight");
    context.check(cudaEventRecord(sent[turn % 2], context.stream()), "uploading a weight");
  }
  context.wait("uploading a weight");
  for (cudaEvent_t event : sent) {
    if (event != nullptr) (void)cudaEventDestroy(event);
  }
}

}  // namespace

Result<std::unique_ptr<Weight>> CudaWeight::make(CudaContext& context, Device& device,
                                                 const WeightSource& source) {
  EBB_TRY_VOID(check_weight_source(source));
  if (source.columns > 0xffffffffu - kUnit) {
    return unsupported("a weight of " + std::to_string(source.columns) + " columns");
  }
  std::unique_ptr<CudaWeight> weight(new CudaWeight);
  weight->format_ = source.format;
  weight->rows_ = source.rows;
  weight->columns_ = source.columns;
  weight->pitch_ = weight_pitch(source.format, source.columns);
  weight->data_ = EBB_TRY(device.allocate(source.rows * weight->pitch_, MemoryKind::kDevice));
  upload_rows(context, source, weight->pitch_, weight->data_.bytes_ptr());
  if (source.rows == 1 && source.format != WeightFormat::kF32) {
    weight->pitch_ = weight_pitch(WeightFormat::kF32, source.columns);
    Buffer values = EBB_TRY(device.allocate(weight->pitch_, MemoryKind::kDevice));
    context.check(cudaMemsetAsync(values.data(), 0, values.size(), context.stream()),
                  "clearing a vector");
    dequantise<float>(context, source.format,
                      args_of(weight->d_data(), 0, source.columns, values.data()), 1);
    context.wait("dequantising a vector");  // its blocks are freed
    weight->data_ = std::move(values);
    weight->format_ = WeightFormat::kF32;
  }
  if (context.failed()) return context.error();
  return std::unique_ptr<Weight>(std::move(weight));
}

const float* CudaWeight::d_vector() const {
  EBB_CHECK(rows_ == 1);
  return data_.floats();
}

void embed(CudaContext& context, const CudaWeight& table, std::span<const TokenId> ids,
           float* d_out) {
  if (ids.empty() || context.failed()) return;
  DequantiseArgs args = args_of(table.d_data(), table.pitch(), table.columns(), d_out);
  args.d_ids = context.upload(ids);
  dequantise<float>(context, table.format(), args, ids.size());
}

namespace {

FewProduct product_of(const CudaWeight& w, const float* d_x, uint32_t rows, float* d_out,
                      uint64_t out_stride) {
  FewProduct product;
  product.d_x = d_x;
  product.rows = rows;
  product.d_w = w.d_data();
  product.format = w.format();
  product.pitch = w.pitch();
  product.outputs = w.rows();
  product.columns = static_cast<uint32_t>(w.columns());
  product.d_out = d_out;
  product.out_stride = out_stride;
  return product;
}

/// `multiply` of at most `rows_max` rows at a time.
template <class Multiply>
void in_passes(const FewProduct& all, uint32_t rows_max, Multiply multiply) {
  for (uint32_t done = 0; done < all.rows; done += rows_max) {
    FewProduct pass = all;
    pass.rows = std::min(all.rows - done, rows_max);
    pass.d_x += uint64_t{done} * all.columns;
    pass.d_out += done * all.out_stride;
    multiply(pass);
  }
}

void multiply_panels(CudaContext& context, Gemm& gemm, const CudaWeight& w, Gemm::Product product) {
  const WeightFormat taken = gemm.weight_format();
  const uint32_t element = weight_block(taken).bytes;
  const uint64_t panel = panel_outputs(w.rows(), w.columns(), element);
  void* scratch = context.scratch(CudaContext::kWeights, panel * w.columns() * element);
  if (scratch == nullptr) return;
  float* d_out = product.d_out;
  product.d_w = scratch;
  product.w_stride = w.columns();
  for (uint64_t first = 0; first < w.rows(); first += panel) {
    product.outputs = std::min(panel, w.rows() - first);
    product.d_out = d_out + first;
    const DequantiseArgs args =
        args_of(w.d_data() + first * w.pitch(), w.pitch(), w.columns(), scratch);
    if (taken == WeightFormat::kBF16) {
      dequantise<unsigned short>(context, w.format(), args, product.outputs);
    } else {
      dequantise<float>(context, w.format(), args, product.outputs);
    }
    gemm.multiply(context, product);
  }
}

}  // namespace

void matmul(CudaContext& context, Gemm& gemm, const float* d_x, uint32_t rows, const CudaWeight& w,
            float* d_out, uint64_t out_stride) {
  const bool direct = w.format() == gemm.weight_format();
  const FewProduct few = product_of(w, d_x, rows, d_out, out_stride);
  const Route route = product_route(rows, direct, fits_tensor(few));
  if (route == Route::kFew) {
    return in_passes(few, kFewRows, [&](const FewProduct& p) { multiply_few(context, p); });
  }
  if (route == Route::kTensor) {
    return in_passes(few, kTensorRows, [&](const FewProduct& p) { multiply_tensor(context, p); });
  }
  Gemm::Product product;
  product.d_x = d_x;
  product.rows = rows;
  product.d_w = w.d_data();
  product.w_stride = w.pitch() / weight_block(w.format()).bytes;
  product.outputs = w.rows();
  product.columns = w.columns();
  product.d_out = d_out;
  product.out_stride = out_stride;
  if (direct) return gemm.multiply(context, product);
  multiply_panels(context, gemm, w, product);
}

}  // namespace ebb::kernels::cuda
