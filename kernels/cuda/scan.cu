// See digests.h, scan_digests. A block has 512 tokens of one item, a warp tiles of 32 of them; in a
// tile lanes share records, one unit each (selection_shapes.h, ScanShape), and keep their unit's
// part of all query heads in registers: a digest is read once, and multiplied four codes at a time
// by integer products. Logits of a tile are turned in shared memory, so that each head's row is
// written in runs of 128 B. Bytes moved: the digests, and 4 B for each logit.
//
// Numerics: the query, rotated as the keys were, is rounded to 8 bits (kInt4: 16); what the
// rounding loses in sum is made up for as if all codes were in the middle of their range. Integer
// sums are exact, so a token's bits cannot depend on where it lies. Blocks leave their maximum and
// sum of exponentials; a second kernel merges them in order.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/digests.h"
#include "kernels/cuda/page_map.cuh"
#include "kernels/cuda/scan_codes.cuh"
#include "kernels/cuda/selection_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;
constexpr uint32_t kTile = kWarp;        // tokens
constexpr uint32_t kRowsMax = kWarp;     // query heads of a round
constexpr uint32_t kStride = kTile + 1;  // of a row of a tile: columns in different banks
constexpr uint32_t kPadded = kDigestUnitsMax * kDigestUnit;

struct ScanItem {
  const float* q;
  PageMap pages;
  uint32_t count;
  float* logits;
  float* lse;
  float2* partials;  ///< [blocks, heads_q]: maximum, sum of exponentials
};

struct ScanKernelArgs {
  const ScanItem* items;
  ScanShape shape;
  uint32_t heads_kv;
  uint32_t group;  ///< query heads of a KV head
  uint32_t head_size;
  uint32_t head_bytes;
  uint32_t units;
  float factor;  ///< 1 / sqrt(head_size)
};

/// What turns sums of codes into a logit: scale * (step * sum + middle) + zero * total.
struct QueryTerms {
  float step, middle, total;
};

/// A round's rows are [shape.heads][shape.queries] query heads, some of which may not exist.
struct Round {
  uint32_t first_head;   ///< KV head
  uint32_t first_query;  ///< within the KV head's group

  __device__ __forceinline__ bool has(const ScanKernelArgs& a, uint32_t row) const {
    return row < a.shape.heads * a.shape.queries &&
           first_head + row / a.shape.queries < a.heads_kv &&
           first_query + row % a.shape.queries < a.group;
  }
  __device__ __forceinline__ uint32_t head_q(const ScanKernelArgs& a, uint32_t row) const {
    return (first_head + row / a.shape.queries) * a.group + first_query + row % a.shape.queries;
  }
};

/// A warp rounds one query: its bytes to parts[part * kPadded + j].
template <DigestFormat F>
__device__ void round_query(const ScanKernelArgs& a, const float* q, signed char* parts,
                            QueryTerms* terms) {
  WarpVector v;
  float most = 0, total = 0;
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    const uint32_t j = u * kDigestUnit + lane_id();
    v.x[u] = j < a.head_size ? q[j] : 0.0f;
  }
  if (F != DigestFormat::kInt4) turn(v, a.head_size);
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    most = fabsf(v.x[u]) > most ? fabsf(v.x[u]) : most;
    total += v.x[u];
  }
  constexpr float kRange = F == DigestFormat::kInt4 ? 127.0f * 128.0f : 127.0f;
  const float step = __fdiv_rn(warp_max(most), kRange);
  int rounded = 0;
#pragma unroll
  for (uint32_t u = 0; u < kDigestUnitsMax; ++u) {
    const uint32_t j = u * kDigestUnit + lane_id();
    float value = step > 0 ? __fdiv_rn(v.x[u], step) : 0.0f;
    value = value > -kRange ? value : -kRange;
    const int n = __float2int_rn(value < kRange ? value : kRange);
    rounded += n;
    const int upper = UnitLayout<F>::kParts == 2 ? (n + 64) >> 7 : n;
    parts[j] = static_cast<signed char>(upper);
    if (UnitLayout<F>::kParts == 2) parts[kPadded + j] = static_cast<signed char>(n - upper * 128);
  }
  total = warp_sum(total);
  const float lost = total - static_cast<float>(warp_sum(rounded)) * step;
  if (lane_id() == 0) {
    *terms = {step * a.factor, 0.5f * digest_levels(F) * lost * a.factor, total * a.factor};
  }
}

/// One lane's share: its record's place in a step, and its unit of the queries.
template <DigestFormat F, uint32_t Q>
struct Lane {
  uint32_t token = 0;  ///< of those of a step
  uint32_t head = 0;   ///< of those of a round
  uint32_t unit = 0;   ///< that it reads: lanes beyond the last read that one, and count as 0
  bool reads = false;
  bool counts = false;
  int q[UnitLayout<F>::kParts][Q][8];

  __device__ __forceinline__ void place(const ScanKernelArgs& a, const Round& round) {
    const uint32_t record = lane_id() / a.shape.lanes;
    token = record / a.shape.heads;
    head = record % a.shape.heads;
    counts = lane_id() % a.shape.lanes < a.units;
    unit = min(lane_id() % a.shape.lanes, a.units - 1);
    reads = token < a.shape.tokens && round.first_head + head < a.heads_kv;
  }
  __device__ __forceinline__ void load(const signed char* parts) {
#pragma unroll
    for (uint32_t g = 0; g < Q; ++g) {
#pragma unroll
      for (uint32_t p = 0; p < UnitLayout<F>::kParts; ++p) {
        const auto* words = reinterpret_cast<const int*>(
            parts + ((head * Q + g) * UnitLayout<F>::kParts + p) * kPadded + unit * kDigestUnit);
#pragma unroll
        for (uint32_t i = 0; i < 8; ++i) q[p][g][i] = reads && counts ? words[i] : 0;
      }
    }
  }
  /// Sums of q times codes over this unit, for each query head.
  __device__ __forceinline__ void multiply(const UnitWords<F>& words, int* sums) const {
    int high[Q] = {};
#pragma unroll
    for (uint32_t g = 0; g < Q; ++g) sums[g] = 0;
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) {
      const int codes = words.codes(i);
#pragma unroll
      for (uint32_t g = 0; g < Q; ++g) {
        constexpr uint32_t kLast = UnitLayout<F>::kParts - 1;
        sums[g] = __dp4a(codes, q[kLast][g][i], sums[g]);
        if (kLast > 0) high[g] = __dp4a(codes, q[0][g][i], high[g]);
      }
    }
#pragma unroll
    for (uint32_t g = 0; g < Q; ++g) sums[g] += 128 * high[g];
  }
};

/// Running maximum and sum of exponentials of one row.
struct Softmax {
  float most = kVeryLow;
  float sum = 0;

  __device__ __forceinline__ void add(float other_most, float other_sum) {
    const float both = other_most > most ? other_most : most;
    sum = sum * expf(most - both) + other_sum * expf(other_most - both);
    most = both;
  }
  __device__ __forceinline__ void add_row(const float* x, uint32_t count) {
    float tile_most = kVeryLow, tile_sum = 0;
    for (uint32_t i = 0; i < count; ++i) tile_most = x[i] > tile_most ? x[i] : tile_most;
    for (uint32_t i = 0; i < count; ++i) tile_sum += expf(x[i] - tile_most);
    add(tile_most, tile_sum);
  }
};

/// A warp's memory for one tile.
struct Tile {
  float logits[kRowsMax * kStride];
  const std::byte* records[kTile];  ///< of the tile's tokens
};

/// One step: logits of its records to the tile. `token` is this lane's, of those of the tile.
template <DigestFormat F, uint32_t Q>
__device__ __forceinline__ void scan_step(const ScanKernelArgs& a, const Lane<F, Q>& lane,
                                          const QueryTerms* terms, const UnitWords<F>& words,
                                          bool exists, uint32_t token, float* logits) {
  int sums[Q];
  lane.multiply(words, sums);
  const Kept kept = share_sums<Q>(sums, a.shape.lanes);
  if (!kept.owner || !exists) return;
  const float scale = words.scale(), zero = words.zero();
#pragma unroll
  for (uint32_t i = 0; i < Q; ++i) {
    if (i >= kept.left) break;
    const uint32_t row = lane.head * Q + kept.first + i;
    const QueryTerms& t = terms[row];
    logits[row * kStride + token] =
        scale * (t.step * static_cast<float>(sums[i]) + t.middle) + zero * t.total;
  }
}

/// Logits of a tile's `count` tokens for the rows of a round. The words of several steps are asked
/// for at once: what one step reads is too little to keep the memory busy.
template <DigestFormat F, uint32_t Q>
__device__ __forceinline__ void scan_tile(const ScanKernelArgs& a, const Lane<F, Q>& lane,
                                          const QueryTerms* terms, uint32_t first_head,
                                          uint32_t count, Tile& tile) {
  constexpr uint32_t kAhead = UnitLayout<F>::kParts * Q < 8 ? 4 : 2;  // as registers allow
  const uint32_t offset = (first_head + lane.head) * a.head_bytes;
  for (uint32_t first = 0; first < count; first += kAhead * a.shape.tokens) {
    UnitWords<F> words[kAhead];
#pragma unroll
    for (uint32_t i = 0; i < kAhead; ++i) {
      const uint32_t token = first + i * a.shape.tokens + lane.token;
      if (lane.reads && token < count) {
        words[i].read(tile.records[token] + offset, lane.unit, a.units);
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < kAhead; ++i) {
      if (first + i * a.shape.tokens >= count) break;
      const uint32_t token = first + i * a.shape.tokens + lane.token;
      const bool exists = lane.token < a.shape.tokens && token < count;
      scan_step<F, Q>(a, lane, terms, words[i], exists, token, tile.logits);
    }
  }
}

template <DigestFormat F, uint32_t Q>
__device__ void scan_round(const ScanKernelArgs& a, const ScanItem& item, const Round& round,
                           Tile* tiles, QueryTerms* terms) {
  // 1. The round's queries, each rounded by a warp, in the memory that tiles take afterwards.
  auto* parts = reinterpret_cast<signed char*>(tiles);
  static_assert(sizeof(Tile) * kWarps >= kRowsMax * 2 * kPadded);
  constexpr uint32_t kParts = UnitLayout<F>::kParts;
  const uint32_t rows = a.shape.heads * Q;
  for (uint32_t row = warp_id(); row < rows; row += kWarps) {
    if (!round.has(a, row)) continue;
    round_query<F>(a, item.q + uint64_t{round.head_q(a, row)} * a.head_size,
                   parts + row * kParts * kPadded, &terms[row]);
  }
  __syncthreads();
  Lane<F, Q> lane;
  lane.place(a, round);
  lane.load(parts);
  __syncthreads();
  // 2. Tiles of 32 tokens; lane i of a warp keeps row i's softmax.
  Tile& tile = tiles[warp_id()];
  Softmax softmax;
  const uint32_t begin = blockIdx.x * kScanTokens, end = min(begin + kScanTokens, item.count);
  for (uint32_t first = begin + warp_id() * kTile; first < end; first += kWarps * kTile) {
    const uint32_t count = min(kTile, end - first);
    if (lane_id() < count) tile.records[lane_id()] = item.pages.entry(first + lane_id());
    __syncwarp();
    scan_tile<F, Q>(a, lane, terms, round.first_head, count, tile);
    __syncwarp();
    for (uint32_t row = 0; row < rows; ++row) {
      if (lane_id() >= count || !round.has(a, row)) continue;
      item.logits[uint64_t{round.head_q(a, row)} * item.count + first + lane_id()] =
          tile.logits[row * kStride + lane_id()];
    }
    if (round.has(a, lane_id())) softmax.add_row(tile.logits + lane_id() * kStride, count);
    __syncwarp();
  }
  // 3. The block's share of the log sums.
  tile.logits[lane_id()] = softmax.most;
  tile.logits[kWarp + lane_id()] = softmax.sum;
  __syncthreads();
  if (warp_id() == 0 && round.has(a, lane_id())) {
    for (uint32_t w = 1; w < kWarps; ++w) {
      softmax.add(tiles[w].logits[lane_id()], tiles[w].logits[kWarp + lane_id()]);
    }
    item.partials[uint64_t{blockIdx.x} * a.heads_kv * a.group + round.head_q(a, lane_id())] =
        make_float2(softmax.most, softmax.sum);
  }
  __syncthreads();
}

/// Block (x, y): tokens [x, x + 1) * kScanTokens of item y.
template <DigestFormat F, uint32_t Q>
__global__ void __launch_bounds__(kWarps* kWarp) scan_kernel(ScanKernelArgs a) {
  __shared__ Tile tiles[kWarps];
  __shared__ QueryTerms terms[kRowsMax];
  const ScanItem item = a.items[blockIdx.y];
  if (uint64_t{blockIdx.x} * kScanTokens >= item.count) return;
  for (uint32_t h = 0; h < a.shape.head_rounds; ++h) {
    for (uint32_t g = 0; g < a.shape.query_rounds; ++g) {
      scan_round<F, Q>(a, item, {h * a.shape.heads, g * Q}, tiles, terms);
    }
  }
}

/// A warp to a query head of an item.
__global__ void merge_scan_kernel(const ScanItem* items, uint32_t heads_q) {
  const ScanItem item = items[blockIdx.y];
  const uint32_t head = blockIdx.x * (blockDim.x / kWarp) + warp_id();
  if (head >= heads_q) return;
  const uint32_t blocks = (item.count + kScanTokens - 1) / kScanTokens;
  float most = kVeryLow;
  for (uint32_t b = lane_id(); b < blocks; b += kWarp) {
    const float x = item.partials[uint64_t{b} * heads_q + head].x;
    most = x > most ? x : most;
  }
  most = warp_max(most);
  float sum = 0;
  for (uint32_t b = lane_id(); b < blocks; b += kWarp) {
    const float2 part = item.partials[uint64_t{b} * heads_q + head];
    sum += part.y * expf(part.x - most);
  }
  sum = warp_sum(sum);
  if (lane_id() == 0) {
    item.lse[head] = item.count == 0 ? __uint_as_float(0xff800000u) : most + logf(sum);
  }
}

template <DigestFormat F>
void launch_scan(const Launch& l, const ScanKernelArgs& args) {
  switch (args.shape.queries) {
    case 1:
      return launch(l, &scan_kernel<F, 1>, args);
    case 2:
      return launch(l, &scan_kernel<F, 2>, args);
    case 4:
      return launch(l, &scan_kernel<F, 4>, args);
    default:
      break;
  }
  if constexpr (F != DigestFormat::kInt4) launch(l, &scan_kernel<F, 8>, args);
}

void launch_scan(const Launch& l, DigestFormat format, const ScanKernelArgs& args) {
  switch (format) {
    case DigestFormat::kInt4:
      return launch_scan<DigestFormat::kInt4>(l, args);
    case DigestFormat::kH3:
      return launch_scan<DigestFormat::kH3>(l, args);
    case DigestFormat::kH2:
      return launch_scan<DigestFormat::kH2>(l, args);
  }
}

ScanKernelArgs kernel_args(const KvShape& shape, const DigestShape& digest) {
  ScanKernelArgs args{};
  args.heads_kv = digest.heads_kv;
  args.group = shape.heads_q / shape.heads_kv;
  args.head_size = digest.head_size;
  args.head_bytes = digest.head_bytes();
  args.units = digest.units();
  args.factor = 1.0f / std::sqrt(static_cast<float>(digest.head_size));
  ScanWork work;
  work.heads_kv = args.heads_kv;
  work.group = args.group;
  work.units = args.units;
  // Two bytes to an element of the query leave registers for half as many.
  work.queries_max = digest.format == DigestFormat::kInt4 ? 4 : 8;
  args.shape = scan_shape(work);
  return args;
}

}  // namespace

void scan_digests(CudaContext& context, const KvShape& shape, const DigestShape& digest,
                  std::span<const ScanArgs> items) {
  EBB_CHECK(digest.heads_kv == shape.heads_kv && digest.head_size == shape.head_size);
  EBB_CHECK(digest.units() <= kDigestUnitsMax && items.size() <= 65535);
  if (items.empty() || context.failed()) return;
  uint64_t blocks = 0, blocks_max = 1;
  for (const ScanArgs& item : items) {
    blocks += scan_blocks(item.count);
    blocks_max = std::max<uint64_t>(blocks_max, scan_blocks(item.count));
  }
  auto* partials = context.scratch_of<float2>(CudaContext::kSelection, blocks * shape.heads_q);
  std::vector<ScanItem> all;
  for (const ScanArgs& item : items) {
    all.push_back({item.d_q,
                   page_map(shape, item.digests, context.upload(item.digests.blocks),
                            digest.token_bytes(), item.count),
                   item.count, item.d_logits, item.d_lse, partials});
    if (partials != nullptr) partials += uint64_t{scan_blocks(item.count)} * shape.heads_q;
  }
  ScanKernelArgs args = kernel_args(shape, digest);
  args.items = context.upload(all);
  if (partials == nullptr) return;
  const auto rows = static_cast<unsigned>(items.size());
  launch_scan(context.shape(dim3(static_cast<unsigned>(blocks_max), rows), kWarps * kWarp),
              digest.format, args);
  constexpr unsigned kHeads = 4;
  launch(context.shape(dim3((shape.heads_q + kHeads - 1) / kHeads, rows), kHeads * kWarp),
         &merge_scan_kernel, args.items, shape.heads_q);
  context.check_launch("scan_digests");
}

}  // namespace ebb::kernels::cuda
