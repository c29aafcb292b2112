// The left-out estimate: sums of K and V over runs of tokens, and attention over what a list leaves
// of them. The pseudo-tokens are written out as rows of f32 and attended to like any others, ln cnt
// being their bias.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/kv_access.h"
#include "kernels/cpu/page_access.h"

namespace ebb::kernels::cpu {
namespace {

/// Runs that one task prepares.
constexpr uint64_t kTaskRuns = 8;

/// A whole stored row as floats. Where K ends and V begins does not matter here: it is taken for
/// one head of twice the size.
class RowFloats {
 public:
  RowFloats(const KvShape& shape, const KvRows& kv, const InnerKernels& inner)
      : access_(shape, kv),
        inner_(inner),
        element_(shape.element),
        half_(shape.heads_kv * shape.head_size) {}

  uint64_t size() const { return uint64_t{2} * half_; }
  void read(uint32_t slot, float* to) const {
    const std::byte* row = access_.row(slot);
    inner_.expand_rows(&row, 1, element_, half_, to, to + half_);
  }

 private:
  KvAccess access_;
  const InnerKernels& inner_;
  KvElement element_;
  uint32_t half_;
};

/// A run of which something is left, and the entries [begin, end) of the list that lie in it.
struct Rest {
  uint32_t run;
  size_t begin;
  size_t end;
};

std::vector<Rest> rests_of(const LeftOutArgs& item) {
  EBB_CHECK(item.d_slots != nullptr || item.slots.size() == item.positions.size());
  std::vector<Rest> rests;
  const auto& positions = item.positions;
  size_t next = 0;
  for (uint32_t run = 0; run < item.length / kSumTokens; ++run) {
    const size_t begin = next;
    while (next < positions.size() && positions[next] / kSumTokens == run) ++next;
    EBB_CHECK(next - begin <= kSumTokens);
    if (next - begin < kSumTokens) rests.push_back({run, begin, next});
  }
  return rests;
}

/// The pseudo-tokens of one item, and the state of attention over them.
struct Estimate {
  const LeftOutArgs* item;
  std::vector<Rest> rests;
  std::vector<float> rows;  ///< [rests][heads_kv][K, V][head_size]
  std::vector<float> bias;  ///< [rests]: ln cnt
  std::vector<float> out;
  std::vector<float> lse;
};

/// Means of what is left of runs [begin, end) of `e.rests`: listed rows taken off in ascending
/// order.
void fill_rows(const KvShape& shape, const InnerKernels& inner, Estimate& e, size_t begin,
               size_t end) {
  const RowFloats rows(shape, e.item->kv, inner);
  const PageAccess pages(shape, e.item->sums);
  const uint32_t* slots = e.item->d_slots != nullptr ? e.item->d_slots : e.item->slots.data();
  std::vector<float> listed(rows.size());
  for (size_t r = begin; r < end; ++r) {
    const Rest& rest = e.rests[r];
    float* row = e.rows.data() + r * rows.size();
    std::memcpy(row, pages.entry(rest.run), rows.size() * sizeof(float));
    for (size_t i = rest.begin; i < rest.end; ++i) {
      rows.read(slots[i], listed.data());
      inner.scale_add(row, 1.0f, listed.data(), -1.0f, rows.size());
    }
    const auto left = static_cast<float>(kSumTokens - (rest.end - rest.begin));
    inner.scale_add(row, 1.0f / left, row, 0.0f, rows.size());
    e.bias[r] = std::log(left);
  }
}

}  // namespace

void CpuOps::add_sums(const KvShape& shape, std::span<const SumArgs> items) {
  for (const SumArgs& item : items) {
    const RowFloats rows(shape, item.kv, inner_);
    const PageAccess pages(shape, item.sums);
    std::vector<float> values(rows.size());
    for (size_t i = 0; i < item.slots.size(); ++i) {
      const uint32_t token = item.first + static_cast<uint32_t>(i);
      auto* sum = reinterpret_cast<float*>(pages.entry(token / kSumTokens));
      if (token % kSumTokens == 0) std::fill_n(sum, rows.size(), 0.0f);
      rows.read(item.slots[i], values.data());
      inner_.add(sum, values.data(), values.size());
    }
  }
}

void CpuOps::attend_left_out(const KvShape& shape, std::span<const LeftOutArgs> items) {
  const uint64_t row_floats = uint64_t{shape.heads_kv} * 2 * shape.head_size;
  const uint64_t out_floats = uint64_t{shape.heads_q} * shape.head_size;
  std::vector<Estimate> estimates;
  uint32_t longest = 0;
  for (const LeftOutArgs& item : items) {
    Estimate e{&item, rests_of(item), {}, {}, {}, {}};
    if (e.rests.empty()) continue;
    longest = std::max(longest, static_cast<uint32_t>(e.rests.size()));
    e.rows.resize(e.rests.size() * row_floats);
    e.bias.resize(e.rests.size());
    e.out.resize(out_floats);
    e.lse.resize(shape.heads_q);
    estimates.push_back(std::move(e));
  }
  KvShape wide = shape;
  wide.element = KvElement::kF32;
  wide.block_tokens = longest;
  const uint32_t first_block = 0;
  std::vector<QueryRow> queries;
  for (Estimate& e : estimates) {
    const size_t rests = e.rests.size();
    team_.run(threads_, (rests + kTaskRuns - 1) / kTaskRuns, [&](uint64_t task) {
      fill_rows(shape, inner_, e, task * kTaskRuns, std::min(rests, (task + 1) * kTaskRuns));
    });
    QueryRow query;
    query.q = e.item->d_q;
    query.count = static_cast<uint32_t>(rests);
    query.kv = {reinterpret_cast<std::byte*>(e.rows.data()), {&first_block, 1}};
    query.bias = e.bias.data();
    query.out = e.out.data();
    query.lse = e.lse.data();
    queries.push_back(query);
  }
  if (!queries.empty()) attend_rows(wide, queries, inner_, team_, threads_);
  for (const Estimate& e : estimates) {
    merge_states(e.item->d_out, e.item->d_lse, e.out.data(), e.lse.data(), 1, shape.heads_q,
                 shape.head_size);
  }
}

}  // namespace ebb::kernels::cpu
