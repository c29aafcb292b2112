#include <algorithm>

#include "base/check.h"
#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

class AdorePolicy : public AttentionPolicy {
 public:
  explicit AdorePolicy(const control::PolicyParams& params) : params_(params) {}

  /// With at most `budget` tokens none has been released: the same as dense, bit for bit.
  LayerPlan plan(uint32_t, const StepInfo& step) const override {
    LayerPlan plan;
    if (step.length > params_.budget) plan.reads = LayerPlan::Reads::kTokens;
    return plan;
  }

  bool scores_tokens() const override { return true; }

  TokenPlan plan_tokens(std::span<const float> scores,
                        std::span<const Position> retained) const override {
    const auto newest = static_cast<Position>(scores.size());
    TokenPlan plan;
    auto kept = retained.begin();
    for (Position p = 0; p < newest; ++p) {
      const bool here = kept != retained.end() && *kept == p;
      if (here) ++kept;
      if (!here) plan.rebuilt.push_back(p);  // every released one, so far
    }
    EBB_CHECK(kept == retained.end());
    keep_best(scores, params_.rebuild, plan.rebuilt);
    std::sort(plan.rebuilt.begin(), plan.rebuilt.end());
    std::merge(retained.begin(), retained.end(), plan.rebuilt.begin(), plan.rebuilt.end(),
               std::back_inserter(plan.reads));
    plan.reads.push_back(newest);
    plan.keeps = best_of(scores, plan.reads, newest + 1, std::max(params_.window, uint32_t{1}));
    return plan;
  }

  std::vector<Position> first_kept(std::span<const float> scores) const override {
    const auto length = static_cast<Position>(scores.size());
    std::vector<Position> all(length);
    for (Position p = 0; p < length; ++p) all[p] = p;
    return best_of(scores, all, length, params_.window);
  }

  void after_step(const StepInfo&, SelectionHistory made, SelectionHistory& kept) const override {
    kept.retained = std::move(made.retained);
  }

  /// One set for all layers follows any bands.
  bool may_be_released() const override { return params_.restores; }
  uint32_t token_pool() const override { return params_.kept; }

 private:
  /// Leaves the best `count` of `positions`, in no order.
  static void keep_best(std::span<const float> scores, size_t count,
                        std::vector<Position>& positions) {
    if (positions.size() <= count) return;
    const auto better = [&](Position a, Position b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a > b);
    };
    std::nth_element(positions.begin(), positions.begin() + static_cast<ptrdiff_t>(count),
                     positions.end(), better);
    positions.resize(count);
  }
  /// Of `from`, tokens of a text of `length`: sinks, the last `window`, and the best up to the
  /// budget.
  std::vector<Position> best_of(std::span<const float> scores, const std::vector<Position>& from,
                                uint32_t length, uint32_t window) const {
    std::vector<Position> kept, others;
    for (const Position p : from) {
      const bool forced = p < params_.sinks || p + window >= length;
      (forced ? kept : others).push_back(p);
    }
    EBB_CHECK(kept.size() <= params_.budget);
    keep_best(scores, params_.budget - kept.size(), others);
    kept.insert(kept.end(), others.begin(), others.end());
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  control::PolicyParams params_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_adore_policy(const control::PolicyParams& params) {
  return std::make_unique<AdorePolicy>(params);
}

}  // namespace ebb::worker
