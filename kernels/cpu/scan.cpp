// Scoring digests. A task is a chunk of tokens for all heads, so that digests are read from memory
// once; its partial softmax state is (maximum, sum) per query head. The chunk size is fixed and
// states are merged in ascending order: bits do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/page_access.h"

namespace ebb::kernels::cpu {
namespace {

/// Its digests and logits stay in the first cache. Part of the numerics of lse.
constexpr uint32_t kChunkTokens = 256;
/// What the inner kernel may read past the entries of a chunk.
constexpr uint32_t kTokensPast = 8;
/// Below this many (token, KV head) pairs waking a second thread costs more than it saves.
constexpr uint64_t kParallelPairs = 4096;

class DigestScan {
 public:
  DigestScan(const KvShape& shape, const DigestShape& digest, std::span<const ScanArgs> items,
             const InnerKernels& inner)
      : shape_(shape),
        digest_(digest),
        items_(items),
        inner_(inner),
        group_(shape.heads_q / shape.heads_kv),
        query_bytes_(digest.units() * kDigestUnit *
                     (digest.format == DigestFormat::kInt4 ? 2 : 1)) {
    EBB_CHECK(shape.head_size <= kHeadSizeMax);
    EBB_CHECK(shape.heads_kv > 0 && shape.heads_q % shape.heads_kv == 0);
  }

  void run(ThreadTeam& team, uint32_t threads) {
    plan();
    const uint32_t wanted = pairs_ < kParallelPairs ? 1 : threads;
    team.run(wanted, tasks_.size(), [&](uint64_t i) { run_task(tasks_[i]); });
    for (size_t i = 0; i < items_.size(); ++i) finish_item(i);
  }

 private:
  struct Task {
    size_t item;
    uint32_t first_token;
    uint32_t tokens;
    uint64_t state;  ///< offset of its [heads_q] x {maximum, sum}
  };
  struct State {
    float maximum = 0;
    float sum = 0;
  };

  void plan() {
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_size));
    const uint64_t heads = shape_.heads_q;
    queries_.resize(items_.size() * heads);
    parts_.resize(queries_.size() * query_bytes_);
    uint64_t state = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
      for (uint64_t h = 0; h < heads; ++h) {
        const uint64_t at = i * heads + h;
        queries_[at] =
            inner_.round_query(digest_.format, items_[i].d_q + h * shape_.head_size,
                               shape_.head_size, scale, parts_.data() + at * query_bytes_);
      }
      for (uint32_t t = 0; t < items_[i].count; t += kChunkTokens) {
        tasks_.push_back({i, t, std::min(kChunkTokens, items_[i].count - t), state});
        state += heads;
      }
      pairs_ += uint64_t{items_[i].count} * shape_.heads_kv;
    }
    states_.resize(state);
  }

  void run_task(const Task& task) {
    const ScanArgs& item = items_[task.item];
    const std::byte* addresses[kChunkTokens + kTokensPast];
    alignas(64) float weights[kChunkTokens];
    PageAccess(shape_, digest_, item.digests).resolve(task.first_token, task.tokens, addresses);
    std::fill_n(addresses + task.tokens, kTokensPast, addresses[0]);
    DigestChunk chunk;
    chunk.format = digest_.format;
    chunk.tokens = addresses;
    chunk.entries = task.tokens;
    chunk.units = digest_.units();
    chunk.logits_stride = item.count;
    chunk.weights = weights;
    for (uint32_t kv_head = 0; kv_head < shape_.heads_kv; ++kv_head) {
      chunk.offset = kv_head * digest_.head_bytes();
      const uint32_t end = (kv_head + 1) * group_;
      for (uint32_t head = kv_head * group_; head < end; head += kChunkHeadsMax) {
        chunk.heads = std::min(kChunkHeadsMax, end - head);
        scan_heads(task, head, chunk);
      }
    }
  }

  void scan_heads(const Task& task, uint32_t head, DigestChunk& chunk) {
    float maximum[kChunkHeadsMax];
    float sum[kChunkHeadsMax];
    const ScanArgs& item = items_[task.item];
    const uint64_t query = task.item * shape_.heads_q + head;
    chunk.q = parts_.data() + query * query_bytes_;
    chunk.queries = queries_.data() + query;
    chunk.logits = item.d_logits + uint64_t{head} * item.count + task.first_token;
    chunk.maximum = maximum;
    chunk.sum = sum;
    inner_.scan_chunk(chunk);
    for (uint32_t h = 0; h < chunk.heads; ++h) {
      states_[task.state + head + h] = {maximum[h], sum[h]};
    }
  }

  /// An item's tasks follow each other, in ascending order of token.
  void finish_item(size_t i) {
    const ScanArgs& item = items_[i];
    const size_t begin = next_;
    while (next_ < tasks_.size() && tasks_[next_].item == i) ++next_;
    for (uint32_t head = 0; head < shape_.heads_q; ++head) {
      float most = -std::numeric_limits<float>::infinity();
      for (size_t t = begin; t < next_; ++t) {
        most = std::max(most, states_[tasks_[t].state + head].maximum);
      }
      float sum = 0;
      for (size_t t = begin; t < next_; ++t) {
        const State& state = states_[tasks_[t].state + head];
        sum += std::exp(state.maximum - most) * state.sum;
      }
      item.d_lse[head] = item.count == 0 ? most : most + std::log(sum);
    }
  }

  const KvShape& shape_;
  const DigestShape& digest_;
  std::span<const ScanArgs> items_;
  const InnerKernels& inner_;
  const uint32_t group_;
  const uint32_t query_bytes_;  ///< of one rounded query
  std::vector<DigestQuery> queries_;
  std::vector<std::byte> parts_;
  std::vector<Task> tasks_;
  std::vector<State> states_;
  uint64_t pairs_ = 0;
  size_t next_ = 0;
};

}  // namespace

void CpuOps::scan_digests(const KvShape& shape, const DigestShape& digest,
                          std::span<const ScanArgs> items) {
  DigestScan(shape, digest, items, inner_).run(team_, threads_);
}

}  // namespace ebb::kernels::cpu
