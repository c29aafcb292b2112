// See attend.h. A task is (query row, heads that share KV rows, chunk of entries); its partial
// state is (maximum, sum, unnormalised output) per head. Bytes: every K and V row once per task.
// Empty set: out = 0, lse = -inf.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/kv_access.h"

namespace ebb::kernels::cpu {
namespace {

/// Small enough that two threads share a few hundred entries evenly, large enough to hide a task's
/// fixed cost. Part of the numerics: changing it changes bits.
constexpr uint32_t kChunkEntries = 256;
/// Chunks per thread from which threads take whole chunks.
constexpr uint32_t kChunksPerThread = 2;
/// Below this many (entry, KV head) pairs waking a second thread costs more than it saves.
constexpr uint64_t kParallelPairs = 384;

struct Task {
  uint32_t row;
  uint32_t first_head;  ///< query head
  uint32_t heads;       ///< at most kChunkHeadsMax, all of one KV head
  uint32_t first_entry;
  uint32_t entries;
  uint64_t state;  ///< offset of its [heads] x {maximum, sum, out[head_size]}
};

/// Tasks that one thread runs in a row: `first`, `first + step`, ...
struct Bundle {
  size_t first;
  size_t step;
  size_t tasks;
  uint32_t prefetch;  ///< bytes of each row to ask for ahead
};

class RowAttention {
 public:
  RowAttention(const KvShape& shape, std::span<const QueryRow> rows, const InnerKernels& inner)
      : shape_(shape), rows_(rows), inner_(inner), group_(shape.heads_q / shape.heads_kv) {
    EBB_CHECK(shape.head_size % 2 == 0 && shape.head_size <= kHeadSizeMax);
    EBB_CHECK(shape.heads_kv > 0 && shape.heads_q % shape.heads_kv == 0);
  }

  void run(ThreadTeam& team, uint32_t threads) {
    plan(threads);
    const uint32_t wanted = pairs_ < kParallelPairs ? 1 : threads;
    team.run(wanted, bundles_.size(), [&](uint64_t i) { run_bundle(bundles_[i]); });
    for (uint32_t r = 0; r < rows_.size(); ++r) {
      if (rows_[r].logits != nullptr) blank_logits(rows_[r]);
      if (rows_[r].out != nullptr) finish_row(r);
    }
  }

 private:
  uint64_t state_size() const { return shape_.head_size + 2; }

  void plan(uint32_t threads) {
    uint64_t state = 0;
    for (uint32_t r = 0; r < rows_.size(); ++r) {
      const size_t first = tasks_.size();
      const bool alone = !rows_[r].list.empty() && rows_[r].scope == ListScope::kQueryHead;
      const uint32_t step = alone ? 1 : std::min(group_, kChunkHeadsMax);
      for (uint32_t kv_head = 0; kv_head < shape_.heads_kv; ++kv_head) {
        const uint32_t end = (kv_head + 1) * group_;
        for (uint32_t head = kv_head * group_; head < end; head += step) {
          state = plan_heads(r, head, std::min(step, end - head), state);
        }
      }
      plan_bundles(rows_[r], first, threads);
    }
    states_.resize(state);
  }

  /// All heads share the rows of a chunk: with enough chunks for everybody, one thread takes a
  /// chunk for all heads, so that it reads whole rows once, in order. Otherwise, and where each
  /// head has its own list, one task is a bundle.
  void plan_bundles(const QueryRow& row, size_t first, uint32_t threads) {
    const uint32_t chunks = (row.count - row.first + kChunkEntries - 1) / kChunkEntries;
    const size_t tasks = tasks_.size() - first;
    const bool shared = row.list.empty() || row.scope == ListScope::kLayer;
    if (!shared || chunks < kChunksPerThread * threads) {
      const uint32_t one_head = 2 * shape_.vector_bytes();
      for (size_t t = 0; t < tasks; ++t) bundles_.push_back({first + t, 1, 1, one_head});
      return;
    }
    for (uint32_t c = 0; c < chunks; ++c) {
      bundles_.push_back({first + c, chunks, tasks / chunks, shape_.row_bytes()});
    }
  }

  void run_bundle(const Bundle& bundle) {
    for (size_t i = 0; i < bundle.tasks; ++i) {
      // The first head's pass brings whole rows nearer; the others find them there.
      run_task(tasks_[bundle.first + i * bundle.step], i == 0 ? bundle.prefetch : 0);
    }
  }

  uint64_t plan_heads(uint32_t r, uint32_t head, uint32_t heads, uint64_t state) {
    for (uint32_t e = rows_[r].first; e < rows_[r].count; e += kChunkEntries) {
      const uint32_t entries = std::min(kChunkEntries, rows_[r].count - e);
      tasks_.push_back({r, head, heads, e, entries, state});
      state += heads * state_size();
      pairs_ += entries;
    }
    return state;
  }

  void resolve(const Task& task, const std::byte** addresses) const {
    const QueryRow& row = rows_[task.row];
    const KvAccess access(shape_, row.kv);
    const uint32_t kv_head = task.first_head / group_;
    const uint64_t head_offset = uint64_t{kv_head} * 2 * shape_.vector_bytes();
    if (row.list.empty()) {
      for (uint32_t e = 0; e < task.entries; ++e) {
        addresses[e] = access.row(task.first_entry + e) + head_offset;
      }
      return;
    }
    const uint64_t which = row.scope == ListScope::kLayer    ? 0
                           : row.scope == ListScope::kKvHead ? kv_head
                                                             : task.first_head;
    const uint32_t* list = row.list.data() + which * row.count + task.first_entry;
    for (uint32_t e = 0; e < task.entries; ++e) addresses[e] = access.row(list[e]) + head_offset;
  }

  void run_task(const Task& task, uint32_t prefetch) {
    const QueryRow& row = rows_[task.row];
    const std::byte* addresses[kChunkEntries + kRowsPast];
    alignas(64) float weights[kChunkHeadsMax * kChunkEntries];
    alignas(64) float logits[kChunkHeadsMax * kChunkEntries];
    alignas(64) float out[kChunkHeadsMax * kHeadSizeMax];
    float maximum[kChunkHeadsMax];
    float sum[kChunkHeadsMax];
    resolve(task, addresses);
    std::fill_n(addresses + task.entries, kRowsPast, addresses[0]);
    const uint64_t vector = uint64_t{task.first_head} * shape_.head_size;
    AttendChunk chunk;
    chunk.q = row.q + vector;
    chunk.q_alt = row.q_alt == nullptr ? nullptr : row.q_alt + vector;
    chunk.alt_entries = row.alt_count > task.first_entry ? row.alt_count - task.first_entry : 0;
    chunk.rows = addresses;
    chunk.entries = task.entries;
    chunk.prefetch_bytes = prefetch;
    chunk.heads = task.heads;
    chunk.head_size = shape_.head_size;
    chunk.element = shape_.element;
    chunk.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_size));
    chunk.bias = row.bias == nullptr ? nullptr : row.bias + task.first_entry;
    chunk.logits = logits;
    chunk.logits_stride = kChunkEntries;
    if (row.logits != nullptr) {
      chunk.logits = row.logits + uint64_t{task.first_head} * row.count + task.first_entry;
      chunk.logits_stride = row.count;
    }
    chunk.weights = weights;
    chunk.maximum = maximum;
    chunk.sum = sum;
    chunk.out = out;
    inner_.attend_chunk(chunk);
    float* state = states_.data() + task.state;
    for (uint32_t h = 0; h < task.heads; ++h, state += state_size()) {
      state[0] = maximum[h];
      state[1] = sum[h];
      std::memcpy(state + 2, out + h * shape_.head_size, shape_.head_size * sizeof(float));
    }
  }

  /// Tasks of one row are in ascending order of head, then of entry: a head's chunks follow each
  /// other.
  void finish_row(uint32_t r) {
    const QueryRow& row = rows_[r];
    if (row.count == 0) {
      std::fill_n(row.out, uint64_t{shape_.heads_q} * shape_.head_size, 0.0f);
      if (row.lse != nullptr) {
        std::fill_n(row.lse, shape_.heads_q, -std::numeric_limits<float>::infinity());
      }
      return;
    }
    while (next_ < tasks_.size() && tasks_[next_].row < r) ++next_;
    while (next_ < tasks_.size() && tasks_[next_].row == r) {
      size_t end = next_ + 1;
      while (end < tasks_.size() && tasks_[end].row == r && tasks_[end].first_entry > row.first) {
        ++end;
      }
      for (uint32_t h = 0; h < tasks_[next_].heads; ++h) merge_head(row, next_, end, h);
      next_ = end;
    }
  }

  void blank_logits(const QueryRow& row) const {
    for (uint64_t h = 0; h < shape_.heads_q; ++h) {
      std::fill_n(row.logits + h * row.count, row.first, -std::numeric_limits<float>::infinity());
    }
  }

  void merge_head(const QueryRow& row, size_t begin, size_t end, uint32_t h) {
    const uint32_t head = tasks_[begin].first_head + h;
    const auto state = [&](size_t task) {
      return states_.data() + tasks_[task].state + h * state_size();
    };
    float most = state(begin)[0];
    for (size_t t = begin + 1; t < end; ++t) most = std::max(most, state(t)[0]);
    float* out = row.out + uint64_t{head} * shape_.head_size;
    std::fill_n(out, shape_.head_size, 0.0f);
    float sum = 0;
    for (size_t t = begin; t < end; ++t) {
      const float weight = std::exp(state(t)[0] - most);
      sum += weight * state(t)[1];
      inner_.scale_add(out, 1.0f, state(t) + 2, weight, shape_.head_size);
    }
    for (uint32_t j = 0; j < shape_.head_size; ++j) out[j] /= sum;
    if (row.lse != nullptr) row.lse[head] = most + std::log(sum);
  }

  const KvShape& shape_;
  std::span<const QueryRow> rows_;
  const InnerKernels& inner_;
  const uint32_t group_;
  std::vector<Task> tasks_;
  std::vector<Bundle> bundles_;
  std::vector<float> states_;
  uint64_t pairs_ = 0;
  size_t next_ = 0;
};

}  // namespace

Seen seen_by(const AttendArgs& item, uint32_t row) {
  const int64_t bound = int64_t{item.count} - item.rows + 1 + row;
  const uint32_t end = bound > 0 ? static_cast<uint32_t>(bound) : 0;
  const uint32_t begin = item.window > 0 && item.window < end ? end - item.window : 0;
  return {begin, end};
}

namespace {

uint64_t lists_of(const KvShape& shape, ListScope scope) {
  if (scope == ListScope::kLayer) return 1;
  return scope == ListScope::kKvHead ? shape.heads_kv : shape.heads_q;
}

}  // namespace

QueryRow query_row(const KvShape& shape, const AttendArgs& item, uint32_t row) {
  const uint64_t vector = uint64_t{row} * shape.heads_q * shape.head_size;
  QueryRow query;
  query.q = item.d_q + vector;
  query.q_alt = item.d_q_alt == nullptr ? nullptr : item.d_q_alt + vector;
  query.alt_count = item.alt_count;
  const Seen seen = seen_by(item, row);
  query.first = seen.begin;
  query.count = seen.end;
  query.kv = item.kv;
  query.list = item.list;
  if (item.d_list != nullptr) query.list = {item.d_list, lists_of(shape, item.scope) * item.count};
  query.scope = item.scope;
  query.out = item.d_out + vector;
  query.lse = item.d_lse == nullptr ? nullptr : item.d_lse + uint64_t{row} * shape.heads_q;
  query.logits = row + 1 == item.rows ? item.d_logits : nullptr;
  return query;
}

void attend_rows(const KvShape& shape, std::span<const QueryRow> rows, const InnerKernels& inner,
                 ThreadTeam& team, uint32_t threads) {
  RowAttention(shape, rows, inner).run(team, threads);
}

}  // namespace ebb::kernels::cpu
