// See elementwise.h. A norm has one warp to a vector; the others have one thread to an element,
// with a grid that strides over what is more than it.
#include "kernels/cuda/elementwise.h"

#include "base/check.h"
#include "kernels/cuda/launch_shapes.h"
#include "kernels/weight_check.h"

namespace ebb::kernels::cuda {
namespace {

/// One warp to a vector: squares summed in f32 over lanes, then the scaled values. Reads the vector
/// twice (the second time from L1).
__global__ void rms_norm_kernel(NormArgs a) {
  const uint64_t vector = uint64_t{blockIdx.x} * (blockDim.x / kWarp) + warp_id();
  if (vector >= uint64_t{a.rows} * a.heads) return;
  const uint64_t at = vector / a.heads * a.row_stride + vector % a.heads * a.width;
  float squares = 0;
  for (uint32_t c = lane_id(); c < a.width; c += kWarp) squares += a.d_x[at + c] * a.d_x[at + c];
  squares = warp_sum(squares);
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(a.width) + a.epsilon);
  for (uint32_t c = lane_id(); c < a.width; c += kWarp) {
    a.d_out[at + c] = a.d_x[at + c] * factor * a.d_gain[c];
  }
}

__global__ void add_bias_kernel(float* x, uint64_t row_stride, uint64_t count, const float* bias,
                                uint32_t columns) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    x[i / columns * row_stride + i % columns] += bias[i % columns];
  }
}

__global__ void add_kernel(float* x, const float* y, uint64_t count) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    x[i] += y[i];
  }
}

__global__ void silu_mul_kernel(const float* gate_up, uint64_t count, uint32_t width, float* out) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const float* row = gate_up + i / width * 2 * width;
    const float gate = row[i % width];
    out[i] = gate / (1.0f + expf(-gate)) * row[width + i % width];
  }
}

struct RopeKernelArgs {
  float* x;
  uint64_t row_stride;
  uint64_t count;  ///< pairs: rows * heads * pairs of a head
  uint32_t heads;
  uint32_t head_size;
  uint32_t pairs;
  const double* frequencies;
  const Position* positions;
  float magnitude;
  bool interleaved;
};

/// One thread to a pair. The angle is formed, and its sine and cosine taken, in double: at 10^6
/// positions a float angle would be wrong in the second decimal.
__global__ void rope_kernel(RopeKernelArgs a) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const auto pair = static_cast<uint32_t>(i % a.pairs);
    const uint64_t head = i / a.pairs % a.heads;
    const uint64_t row = i / a.pairs / a.heads;
    double s, c;
    sincos(a.positions[row] * a.frequencies[pair], &s, &c);
    const auto sine = static_cast<float>(s * a.magnitude);
    const auto cosine = static_cast<float>(c * a.magnitude);
    float* x = a.x + row * a.row_stride + head * a.head_size;
    float& first = a.interleaved ? x[2 * pair] : x[pair];
    float& second = a.interleaved ? x[2 * pair + 1] : x[pair + a.pairs];
    const float p = first, q = second;
    first = p * cosine - q * sine;
    second = p * sine + q * cosine;
  }
}

}  // namespace

void rms_norm(CudaContext& context, const NormArgs& args) {
  const uint64_t vectors = uint64_t{args.rows} * args.heads;
  if (vectors == 0 || context.failed()) return;
  constexpr unsigned kWarps = 4;
  const dim3 grid(static_cast<unsigned>((vectors + kWarps - 1) / kWarps));
  launch(context.shape(grid, kWarps * kWarp), &rms_norm_kernel, args);
  context.check_launch("rms_norm");
}

void add_bias(CudaContext& context, float* d_x, uint64_t row_stride, uint32_t rows,
              const float* d_bias, uint32_t columns) {
  const uint64_t count = uint64_t{rows} * columns;
  if (count == 0 || context.failed()) return;
  const FlatShape shape = flat_shape(count, context.multiprocessors());
  launch(context.shape(shape.blocks, shape.threads), &add_bias_kernel, d_x, row_stride, count,
         d_bias, columns);
  context.check_launch("add_bias");
}

void add(CudaContext& context, float* d_x, const float* d_y, uint64_t count) {
  if (count == 0 || context.failed()) return;
  const FlatShape shape = flat_shape(count, context.multiprocessors());
  launch(context.shape(shape.blocks, shape.threads), &add_kernel, d_x, d_y, count);
  context.check_launch("add");
}

void silu_mul(CudaContext& context, const float* d_gate_up, uint32_t rows, uint32_t width,
              float* d_out) {
  const uint64_t count = uint64_t{rows} * width;
  if (count == 0 || context.failed()) return;
  const FlatShape shape = flat_shape(count, context.multiprocessors());
  launch(context.shape(shape.blocks, shape.threads), &silu_mul_kernel, d_gate_up, count, width,
         d_out);
  context.check_launch("silu_mul");
}

Result<Rope> Rope::make(CudaContext& context, Device& device, const RopeArgs& args) {
  EBB_TRY_VOID(check_rope(args));
  Rope rope;
  const size_t bytes = args.frequencies.size() * sizeof(double);
  rope.frequencies_ = EBB_TRY(device.allocate(bytes, MemoryKind::kDevice));
  device.copy_to_device(rope.frequencies_.data(), args.frequencies.data(), bytes);
  rope.pairs_ = static_cast<uint32_t>(args.frequencies.size());
  rope.magnitude_ = args.magnitude;
  rope.interleaved_ = args.interleaved;
  if (context.failed()) return context.error();
  return Result<Rope>(std::move(rope));
}

void Rope::turn(CudaContext& context, float* d_x, uint64_t row_stride, uint32_t heads,
                uint32_t head_size, std::span<const Position> positions) const {
  EBB_CHECK(pairs_ > 0 && dims() <= head_size);
  const uint64_t count = uint64_t{positions.size()} * heads * pairs_;
  if (count == 0 || context.failed()) return;
  RopeKernelArgs args{};
  args.x = d_x;
  args.row_stride = row_stride;
  args.count = count;
  args.heads = heads;
  args.head_size = head_size;
  args.pairs = pairs_;
  args.frequencies = static_cast<const double*>(frequencies_.data());
  args.positions = context.upload(positions);
  args.magnitude = magnitude_;
  args.interleaved = interleaved_;
  const FlatShape shape = flat_shape(count, context.multiprocessors());
  launch(context.shape(shape.blocks, shape.threads), &rope_kernel, args);
  context.check_launch("rope");
}

}  // namespace ebb::kernels::cuda
