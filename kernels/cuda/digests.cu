// See digests.h. Writing: a warp to a token's KV head, its elements spread over the lanes as the
// units of the format are.
#include "kernels/cuda/digests.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/digest_code.cuh"
#include "kernels/cuda/launch_shapes.h"
#include "kernels/cuda/page_map.cuh"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;
constexpr uint32_t kMeanParts = 32;

struct MeanArgs {
  RowMap rows;
  const uint32_t* slots;
  uint32_t count;
  uint32_t head_size;
  uint32_t elements;  ///< heads_kv * head_size
  float* center;
};

/// A block has 32 neighbouring elements of the centre, one a lane, and a warp to every 32nd token.
/// Sums in double, in an order that the count alone decides.
__global__ void mean_key_kernel(MeanArgs a) {
  __shared__ double parts[kMeanParts][kWarp];
  const uint32_t element = blockIdx.x * kWarp + lane_id();
  double sum = 0;
  if (element < a.elements) {
    const uint32_t at = a.rows.vector_at(element / a.head_size, 0);
    const uint32_t j = element % a.head_size;
    for (uint32_t i = warp_id(); i < a.count; i += kMeanParts) {
      sum += kv_value(a.rows.row(a.slots[i]) + at, j, a.rows.element);
    }
  }
  parts[warp_id()][lane_id()] = sum;
  __syncthreads();
  if (warp_id() != 0 || element >= a.elements) return;
  for (uint32_t p = 1; p < kMeanParts; ++p) sum += parts[p][lane_id()];
  a.center[element] = a.count == 0 ? 0.0f : static_cast<float>(sum / a.count);
}

/// Tokens of one sequence.
struct WriteItem {
  RowMap rows;
  const uint32_t* slots;
  PageMap pages;
  const float* center;  ///< null: none
  uint32_t count;
  uint32_t first;
};

struct WriteArgs {
  const WriteItem* items;  ///< one for each y of the grid
  DigestFormat format;
  uint32_t heads_kv;
  uint32_t head_size;
  uint32_t head_bytes;
  uint32_t units;
};

__device__ __forceinline__ WarpVector read_key(const WriteArgs& a, const WriteItem& item,
                                               uint32_t token, uint32_t head) {
  const std::byte* from = item.rows.row(item.slots[token]) + item.rows.vector_at(head, 0);
  const float* center = item.center == nullptr ? nullptr : item.center + head * a.head_size;
  WarpVector v;
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    const uint32_t j = u * kDigestUnit + lane_id();
    v.x[u] = j < a.head_size ? kv_value(from, j, item.rows.element) : 0.0f;
    if (center != nullptr && j < a.head_size) v.x[u] -= center[j];
  }
  return v;
}

struct Ends {
  float least, most;
};

/// Of equal zeros the one that comes first among the elements is the least, and its sign counts.
__device__ __forceinline__ Ends ends_of(const WarpVector& v, uint32_t head_size) {
  float least = v.x[0], most = v.x[0];
  if (lane_id() >= head_size) {
    least = __uint_as_float(0x7f800000u);
    most = -least;
  }
#pragma unroll
  for (uint32_t u = 1; u < kDigestUnitsMax; ++u) {
    if (u * kDigestUnit + lane_id() >= head_size) break;
    least = v.x[u] < least ? v.x[u] : least;
    most = v.x[u] > most ? v.x[u] : most;
  }
  // With a NaN lanes may find different ends: the branches below must be those of all.
  most = __shfl_sync(kAllLanes, warp_max(most), 0);
  least = __shfl_sync(kAllLanes, -warp_max(-least), 0);
  if (least != 0) return {least, most};
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    const bool zero = u * kDigestUnit + lane_id() < head_size && v.x[u] == 0;
    const unsigned votes = __ballot_sync(kAllLanes, zero ? 1 : 0);
    if (votes != 0)
      return {__shfl_sync(kAllLanes, v.x[u], __ffs(static_cast<int>(votes)) - 1), most};
  }
  return {least, most};
}

/// The bytes of a unit from its codes, one a lane; `codes` [32] is the warp's own shared memory.
__device__ __forceinline__ void write_unit(DigestFormat format, const unsigned char* codes,
                                           std::byte* upper, std::byte* lowest) {
  const uint32_t i = lane_id();
  if (format == DigestFormat::kInt4) {
    if (i < 16) upper[i] = static_cast<std::byte>(codes[i] | codes[i + 16] << 4);
    return;
  }
  const uint32_t low = format == DigestFormat::kH3 ? 1 : 0;
  if (i < 8) {
    upper[i] = static_cast<std::byte>(codes[i] >> low | codes[i + 8] >> low << 2 |
                                      codes[i + 16] >> low << 4 | codes[i + 24] >> low << 6);
  } else if (low != 0 && i < 12) {
    unsigned bits = 0;
    for (uint32_t b = 0; b < 8; ++b) bits |= (codes[b * 4 + i - 8] & 1u) << b;
    lowest[i - 8] = static_cast<std::byte>(bits);
  }
}

__device__ __forceinline__ unsigned char code_of(float x, float zero, float scale, float levels) {
  float code = __fdiv_rn(x - zero, scale);
  code = code > 0 ? code : 0;
  code = code < levels ? code : levels;
  return static_cast<unsigned char>(__float2int_rn(code));
}

__global__ void write_digest_kernel(WriteArgs a) {
  __shared__ unsigned char room[kWarps][kDigestUnitsMax * kDigestUnit];
  const WriteItem item = a.items[blockIdx.y];
  const uint64_t record = uint64_t{blockIdx.x} * kWarps + warp_id();
  if (record >= uint64_t{item.count} * a.heads_kv) return;
  const auto token = static_cast<uint32_t>(record / a.heads_kv);
  const auto head = static_cast<uint32_t>(record % a.heads_kv);
  const DigestFormat format = a.format;
  const uint32_t head_size = a.head_size;
  WarpVector v = read_key(a, item, token, head);
  if (format != DigestFormat::kInt4) turn(v, head_size);
  const Ends ends = ends_of(v, head_size);
  const float levels = digest_levels(format);
  const unsigned short scale_bits = cut_half_bits(__fdiv_rn(ends.most - ends.least, levels));
  const unsigned short zero_bits = cut_half_bits(ends.least);
  const float scale = half_value(scale_bits), zero = half_value(zero_bits);
  unsigned char* codes = room[warp_id()];
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    const uint32_t j = u * kDigestUnit + lane_id();
    codes[j] = scale > 0 && j < head_size ? code_of(v.x[u], zero, scale, levels) : 0;
  }
  __syncwarp();
  std::byte* to = item.pages.entry(item.first + token) + head * a.head_bytes;
  if (lane_id() == 0) {
    *reinterpret_cast<uint32_t*>(to) = scale_bits | static_cast<uint32_t>(zero_bits) << 16;
  }
  const uint32_t unit_bytes = format == DigestFormat::kInt4 ? 16 : 8;
  for (uint32_t u = 0; u < a.units; ++u) {
    write_unit(format, codes + u * kDigestUnit, to + 4 + u * unit_bytes,
               to + 4 + a.units * unit_bytes + u * 4);
  }
}

}  // namespace

void mean_key(CudaContext& context, const KvShape& shape, const KvRows& kv,
              std::span<const uint32_t> slots, float* d_center) {
  MeanArgs args{};
  args.rows = context.row_map(shape, kv);
  args.slots = context.upload(slots);
  args.count = static_cast<uint32_t>(slots.size());
  args.head_size = shape.head_size;
  args.elements = shape.heads_kv * shape.head_size;
  args.center = d_center;
  if (context.failed()) return;
  launch(context.shape((args.elements + kWarp - 1) / kWarp, kMeanParts * kWarp), &mean_key_kernel,
         args);
  context.check_launch("mean_key");
}

void write_digest(CudaContext& context, const KvShape& shape, const DigestShape& digest,
                  std::span<const DigestArgs> items) {
  EBB_CHECK(digest.heads_kv == shape.heads_kv && digest.head_size == shape.head_size);
  EBB_CHECK(digest.units() <= kDigestUnitsMax);
  std::vector<WriteItem> all;
  uint64_t records = 0;
  for (const DigestArgs& item : items) {
    if (item.slots.empty()) continue;
    const auto count = static_cast<uint32_t>(item.slots.size());
    all.push_back({context.row_map(shape, item.kv), context.upload(item.slots),
                   page_map(shape, item.digests, context.upload(item.digests.blocks),
                            digest.token_bytes(), uint64_t{item.first} + count),
                   digest.format == DigestFormat::kInt4 ? nullptr : item.d_center, count,
                   item.first});
    records = std::max(records, uint64_t{count} * digest.heads_kv);
  }
  if (all.empty() || context.failed()) return;
  WriteArgs args{};
  args.items = context.upload(all);
  args.format = digest.format;
  args.heads_kv = digest.heads_kv;
  args.head_size = digest.head_size;
  args.head_bytes = digest.head_bytes();
  args.units = digest.units();
  if (context.failed()) return;
  const auto blocks = static_cast<unsigned>((records + kWarps - 1) / kWarps);
  for_grids(all.size(), [&](unsigned first, unsigned count) {
    WriteArgs part = args;
    part.items += first;
    launch(context.shape(dim3(blocks, count), kWarps * kWarp), &write_digest_kernel, part);
  });
  context.check_launch("write_digest");
}

}  // namespace ebb::kernels::cuda
