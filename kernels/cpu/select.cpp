// Selection: scores of entries, the best k of them.
#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"

namespace ebb::kernels::cpu {
namespace {

/// A key whose order as an unsigned integer is: higher score first when descending, then lower
/// position. Adding zero makes the two zeros one; flipping maps the sign-magnitude floats to a
/// monotonic integer.
uint64_t key_of(float score, uint32_t position) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | ~position;
}

std::vector<Scored> best_of(const TopKArgs& item) {
  EBB_CHECK(item.begin <= item.end);
  std::vector<uint64_t> keys(item.end - item.begin);
  for (uint32_t e = item.begin; e < item.end; ++e) {
    EBB_CHECK(item.d_scores[e] == item.d_scores[e]);
    keys[e - item.begin] = key_of(item.d_scores[e], e);
  }
  const size_t kept = std::min<size_t>(item.k, keys.size());
  const auto last = keys.begin() + static_cast<std::ptrdiff_t>(kept);
  if (kept < keys.size()) std::nth_element(keys.begin(), last, keys.end(), std::greater<>());
  std::sort(keys.begin(), last, std::greater<>());
  std::vector<Scored> best(kept);
  for (size_t i = 0; i < kept; ++i) {
    const uint32_t position = ~static_cast<uint32_t>(keys[i]);
    best[i] = {position, item.d_scores[position]};
  }
  return best;
}

}  // namespace

void CpuOps::score_max(const float* d_logits, const float* d_lse, uint32_t heads_q, uint32_t count,
                       float* d_scores) {
  inner_.score_max(d_logits, count, d_lse, heads_q, count, d_scores);
}

void CpuOps::scale_scores(float* d_scores, std::span<const Position> positions, float factor) {
  for (const Position p : positions) d_scores[p] *= factor;
}

std::vector<std::vector<Scored>> CpuOps::top_k(std::span<const TopKArgs> items) {
  std::vector<std::vector<Scored>> best;
  for (const TopKArgs& item : items) best.push_back(best_of(item));
  return best;
}

}  // namespace ebb::kernels::cpu
