// See attend.h. What a call's items are cut into: rows, chunks and launches.
#include "kernels/cuda/attend.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/cuda/attend_decode.h"
#include "kernels/cuda/attend_tiles.h"
#include "kernels/cuda/launch_shapes.h"

namespace ebb::kernels::cuda {
namespace {

/// Rows that are attended to one by one, in launches: one for all items of a call as long as
/// their states fit into scratch memory, two where some items list slots by query head.
class RowLaunches {
 public:
  RowLaunches(CudaContext& context, const KvShape& shape)
      : context_(context), shape_(shape), group_(shape.heads_q / shape.heads_kv) {}

  void add(const AttendArgs& item, uint32_t row, bool logits_only = false) {
    const bool alone = item.listed() && item.scope == ListScope::kQueryHead;
    if (alone != alone_ || state_bytes_ >= kStateBytesMax) flush();
    alone_ = alone;
    if (item_ != &item) add_arrays(item);
    AttendRow r = make_row(item, row);
    if (logits_only) r.out = r.lse = nullptr;
    const auto index = static_cast<uint32_t>(rows_.size());
    for (uint32_t c = 0; c < r.chunks; ++c) work_.push_back({index, c});
    if (r.chunks > 1) {
      r.state_at = states_;
      states_ += uint64_t{shape_.heads_q} * r.chunks;
      state_bytes_ += state_bytes(shape_.heads_q, r.chunks, shape_.head_size);
      if (r.out != nullptr) merges_.push_back({r.out, r.lse, r.state_at, r.chunks, false});
    }
    rows_.push_back(r);
  }

  void flush() {
    if (!rows_.empty() && !context_.failed()) launch_rows();
    packed_ = {};
    rows_.clear();
    work_.clear();
    merges_.clear();
    states_ = state_bytes_ = 0;
    item_ = nullptr;
  }

 private:
  void add_arrays(const AttendArgs& item) {
    item_ = &item;
    blocks_at_ = packed_.add(item.kv.blocks);
    list_at_ = packed_.add(item.list);
  }

  AttendRow make_row(const AttendArgs& item, uint32_t row) const {
    const RowEntries seen = row_entries(item.count, item.rows, row, item.window);
    const Chunks chunks = decode_chunks(seen.count(), shape_.heads_kv, context_.multiprocessors());
    const uint64_t vector = uint64_t{row} * shape_.heads_q * shape_.head_size;
    AttendRow r;
    r.q = item.d_q + vector;
    if (item.d_q_alt != nullptr && item.alt_count > seen.begin) {
      r.q_alt = item.d_q_alt + vector;
      r.alt_end = item.alt_count - seen.begin;
    }
    r.first = seen.begin;
    r.entries = seen.count();
    r.chunk_entries = chunks.entries;
    r.chunks = chunks.count;
    r.listed = item.listed();
    r.list = item.d_list;
    r.list_at = list_at_;
    if (item.scope == ListScope::kKvHead) r.list_kv = item.count;
    if (item.scope == ListScope::kQueryHead) r.list_q = item.count;
    r.blocks_at = blocks_at_;
    r.arena = item.kv.d_arena;
    r.out = item.d_out == nullptr ? nullptr : item.d_out + vector;
    if (item.d_lse != nullptr) r.lse = item.d_lse + uint64_t{row} * shape_.heads_q;
    if (item.d_logits != nullptr && row + 1 == item.rows) r.logits = item.d_logits + seen.begin;
    r.logits_stride = item.count;
    return r;
  }

  void launch_rows() {
    const DecodeKind kind = decode_kind(shape_.head_size, alone_ ? 1 : group_, shape_.element);
    DecodeArgs args;
    args.rows_at = packed_.add(rows_);
    args.work_at = packed_.add(work_);
    const uint64_t merges_at = packed_.add(merges_);
    args.upload = packed_.upload(context_);
    args.works = static_cast<uint32_t>(work_.size());
    args.states = take_states(context_, states_, shape_.head_size);
    args.heads_kv = shape_.heads_kv;
    args.group = group_;
    args.parts = alone_ ? group_ : (group_ + kind.heads - 1) / kind.heads;
    args.head_size = shape_.head_size;
    args.block_tokens = shape_.block_tokens;
    args.row_bytes = shape_.row_bytes();
    args.vector_bytes = shape_.vector_bytes();
    args.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_size));
    const bool bf16 = shape_.element == KvElement::kBF16;
    (bf16 ? launch_decode_bf16 : launch_decode_f32)(context_, kind, args);
    if (context_.failed()) return;
    merge_chunks(context_, args.states, reinterpret_cast<const MergeRow*>(args.upload + merges_at),
                 static_cast<uint32_t>(merges_.size()), shape_.heads_q, shape_.head_size);
  }

  CudaContext& context_;
  const KvShape& shape_;
  const uint32_t group_;
  Packed packed_;
  std::vector<AttendRow> rows_;
  std::vector<DecodeWork> work_;
  std::vector<MergeRow> merges_;
  uint64_t states_ = 0;
  uint64_t state_bytes_ = 0;
  bool alone_ = false;
  const AttendArgs* item_ = nullptr;
  uint64_t blocks_at_ = 0;
  uint64_t list_at_ = 0;
};

/// logits [heads, stride]: -inf before entry `end` of every head.
__global__ void blank_kernel(float* logits, uint32_t heads, uint32_t stride, uint32_t end) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  const uint64_t count = uint64_t{heads} * end;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    logits[i / end * stride + i % end] = __uint_as_float(0xff800000u);
  }
}

void blank_before_window(CudaContext& context, const KvShape& shape, const AttendArgs& item) {
  const uint32_t end = row_entries(item.count, item.rows, item.rows - 1, item.window).begin;
  if (item.d_logits == nullptr || end == 0 || context.failed()) return;
  const FlatShape flat = flat_shape(uint64_t{shape.heads_q} * end, context.multiprocessors());
  launch(context.shape(flat.blocks, flat.threads), &blank_kernel, item.d_logits, shape.heads_q,
         item.count, end);
  context.check_launch("attend: blank logits");
}

}  // namespace

void attend(CudaContext& context, const KvShape& shape, std::span<const AttendArgs> items) {
  EBB_CHECK(shape.head_size > 0 && shape.head_size % 2 == 0 && shape.head_size <= 256);
  EBB_CHECK(shape.heads_kv > 0 && shape.heads_q % shape.heads_kv == 0);
  // Devices whose blocks have too little shared memory for tiles take the rows one by one.
  const bool tiles =
      tile_shared_bytes(tile_kind(shape.head_size).columns) <= context.shared_bytes_max();
  RowLaunches launches(context, shape);
  for (const AttendArgs& item : items) {
    if (tiles && !item.listed() && takes_tiles(item.rows, shape.element == KvElement::kBF16)) {
      attend_tiles(context, shape, item);
      // Tiles leave no logits behind: the last row is scored once more.
      if (item.d_logits != nullptr) launches.add(item, item.rows - 1, true);
    } else {
      for (uint32_t row = 0; row < item.rows; ++row) launches.add(item, row);
    }
    blank_before_window(context, shape, item);
  }
  launches.flush();
}

}  // namespace ebb::kernels::cuda
