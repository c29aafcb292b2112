// See attend.h. A task is (KV head, tile of query rows), the rows of all query heads of that KV
// head stacked; it walks the KV rows in tiles: S = Q K^T and O += P V as matrix products, the
// softmax online between them (FlashAttention's order, arXiv:2205.14135). Flops: 4 * rows * entries
// * head_size per query head.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/kv_access.h"
#include "kernels/cpu/product.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kTileEntries = 512;
/// Stacked rows (query rows times heads of the group): scores of a tile stay in a 1 MiB
/// second-level cache.
constexpr uint32_t kTileStacked = 192;

class TileAttention {
 public:
  TileAttention(const KvShape& shape, const AttendArgs& item, const InnerKernels& inner)
      : shape_(shape),
        item_(item),
        inner_(inner),
        access_(shape, item.kv),
        group_(shape.heads_q / shape.heads_kv),
        tile_rows_(std::max(1u, kTileStacked / group_)),
        tiles_((item.rows + tile_rows_ - 1) / tile_rows_) {}

  void run(ThreadTeam& team, uint32_t threads) {
    // Later rows see more entries: longest first, so that no thread is left with a long last task.
    team.run(threads, uint64_t{tiles_} * shape_.heads_kv, [&](uint64_t task) {
      const auto tile = static_cast<uint32_t>(tiles_ - 1 - task / shape_.heads_kv);
      Worker(*this, static_cast<uint32_t>(task % shape_.heads_kv), tile).run();
    });
  }

 private:
  /// The state of one task.
  class Worker {
   public:
    Worker(const TileAttention& all, uint32_t kv_head, uint32_t tile)
        : all_(all),
          kv_head_(kv_head),
          first_row_(tile * all.tile_rows_),
          rows_(std::min(all.tile_rows_, all.item_.rows - first_row_)),
          size_(all.shape_.head_size),
          stacked_(rows_ * all.group_),
          begin_(stacked_),
          end_(stacked_),
          scratch_(std::make_unique_for_overwrite<float[]>(uint64_t{stacked_} *
                                                               (3 * size_ + kTileEntries + 2) +
                                                           uint64_t{kTileEntries} * size_ * 2)) {
      q_ = scratch_.get();
      q_alt_ = q_ + uint64_t{stacked_} * size_;
      out_ = q_alt_ + uint64_t{stacked_} * size_;
      scores_ = out_ + uint64_t{stacked_} * size_;
      k_ = scores_ + uint64_t{stacked_} * kTileEntries;
      v_ = k_ + uint64_t{kTileEntries} * size_;
      maximum_ = v_ + uint64_t{kTileEntries} * size_;
      sum_ = maximum_ + stacked_;
    }

    void run() {
      stack(all_.item_.d_q, q_);
      if (all_.item_.d_q_alt != nullptr) stack(all_.item_.d_q_alt, q_alt_);
      std::fill_n(out_, uint64_t{stacked_} * size_, 0.0f);
      std::fill_n(maximum_, stacked_, -std::numeric_limits<float>::infinity());
      std::fill_n(sum_, stacked_, 0.0f);
      // The first row's window begins first, the last row sees furthest.
      const uint32_t end = seen_by(all_.item_, first_row_ + rows_ - 1).end;
      const uint32_t alternative =
          all_.item_.d_q_alt == nullptr ? 0 : std::min(all_.item_.alt_count, end);
      for (uint32_t e = seen_by(all_.item_, first_row_).begin; e < end;) {
        const bool alt = e < alternative;
        const uint32_t stop = std::min(e + kTileEntries, alt ? alternative : end);
        attend_tile(alt ? q_alt_ : q_, e, stop);
        e = stop;
      }
      write();
    }

   private:
    uint64_t vector_of(uint32_t row) const {
      const uint64_t head =
          uint64_t{first_row_ + row} * all_.shape_.heads_q + kv_head_ * all_.group_;
      return head * size_;
    }

    void stack(const float* from, float* to) const {
      const float scale = 1.0f / std::sqrt(static_cast<float>(size_));
      for (uint32_t r = 0; r < rows_; ++r) {
        const float* row = from + vector_of(r);
        for (uint32_t j = 0; j < all_.group_ * size_; ++j) *to++ = row[j] * scale;
      }
    }

    void attend_tile(const float* q, uint32_t begin, uint32_t end) {
      const uint32_t entries = end - begin;
      const std::byte* rows[kTileEntries];
      for (uint32_t e = 0; e < entries; ++e) {
        rows[e] = all_.access_.row(begin + e) + uint64_t{kv_head_} * 2 * all_.shape_.vector_bytes();
      }
      all_.inner_.expand_rows(rows, entries, all_.shape_.element, size_, k_, v_);
      product({stacked_, entries, size_, size_, size_, kTileEntries}, q, k_, Transposed::kYes, 0.0f,
              scores_);
      for (uint32_t i = 0; i < stacked_; ++i) {
        const Seen seen = seen_by(all_.item_, first_row_ + i / all_.group_);
        begin_[i] = std::clamp(seen.begin, begin, end) - begin;
        end_[i] = std::clamp(seen.end, begin, end) - begin;
      }
      all_.inner_.softmax_tile({scores_, kTileEntries, stacked_, entries, begin_.data(),
                                end_.data(), out_, size_, maximum_, sum_});
      product({stacked_, size_, entries, kTileEntries, size_, size_}, scores_, v_, Transposed::kNo,
              1.0f, out_);
    }

    void write() const {
      for (uint32_t i = 0; i < stacked_; ++i) {
        const uint32_t r = i / all_.group_;
        const uint32_t h = i % all_.group_;
        const float factor = sum_[i] > 0 ? 1.0f / sum_[i] : 0.0f;
        float* to = all_.item_.d_out + vector_of(r) + h * size_;
        for (uint32_t j = 0; j < size_; ++j) to[j] = out_[uint64_t{i} * size_ + j] * factor;
        if (all_.item_.d_lse != nullptr) {
          all_.item_
              .d_lse[uint64_t{first_row_ + r} * all_.shape_.heads_q + kv_head_ * all_.group_ + h] =
              maximum_[i] + std::log(sum_[i]);
        }
      }
    }

    const TileAttention& all_;
    const uint32_t kv_head_;
    const uint32_t first_row_;
    const uint32_t rows_;
    const uint32_t size_;
    const uint32_t stacked_;
    std::vector<uint32_t> begin_;  ///< [stacked]: columns of the current tile that a row sees
    std::vector<uint32_t> end_;
    std::unique_ptr<float[]> scratch_;  ///< all of the following, not zeroed first
    float* q_;
    float* q_alt_;
    float* out_;     ///< [stacked, head_size], unnormalised
    float* scores_;  ///< [stacked, kTileEntries]
    float* k_;       ///< [kTileEntries, head_size]
    float* v_;
    float* maximum_;  ///< [stacked]
    float* sum_;
  };

  const KvShape& shape_;
  const AttendArgs& item_;
  const InnerKernels& inner_;
  const KvAccess access_;
  const uint32_t group_;
  const uint32_t tile_rows_;
  const uint32_t tiles_;
};

}  // namespace

void attend_tiles(const KvShape& shape, const AttendArgs& item, const InnerKernels& inner,
                  ThreadTeam& team, uint32_t threads) {
  EBB_CHECK(!item.listed());
  TileAttention(shape, item, inner).run(team, threads);
}

}  // namespace ebb::kernels::cpu
