#include <algorithm>

#include "base/check.h"
#include "worker/attention/policy.h"
#include "worker/attention/similarity.h"

namespace ebb::worker {
namespace {

class RecycledPolicy : public AttentionPolicy {
 public:
  explicit RecycledPolicy(const control::PolicyParams& params) : params_(params) {}

  LayerPlan plan(uint32_t layer, const StepInfo& step) const override {
    if (params_.stride > 0) {
      return step.step % params_.stride == 0 ? full(layer) : partial(layer);
    }
    LayerPlan plan = partial(layer);
    plan.checks = params_.check_every > 0 && step.step % params_.check_every == 0;
    return plan;
  }

  std::optional<Position> second_query(Position) const override {
    // Rotated to position 0: as it was before RoPE.
    if (!remembers_queries() || params_.post_rope) return std::nullopt;
    return Position{0};
  }
  bool checks_second_query() const override { return !params_.post_rope; }
  bool remembers_queries() const override { return params_.stride == 0 && params_.check_every > 0; }
  LayerPlan at_query(uint32_t layer, const StepInfo&, std::span<const float> mean,
                     std::span<const float> last) const override {
    EBB_CHECK(mean.size() == last.size());
    return cosine(mean, last) > params_.similarity ? partial(layer) : full(layer);
  }

  Selection selection(uint32_t, uint32_t length) const override {
    Selection choice;
    choice.scope = SetScope::kKvHead;
    choice.pool = params_.pool;
    choice.end = params_.self_candidate ? length : length - 1;
    choice.take = params_.budget;
    return choice;
  }

  /// Kept ascending by score: the front goes first. Where self is no candidate it is the last to
  /// go, as any token that was added.
  TokenSet compose(uint32_t, uint32_t length, Chosen chosen) const override {
    TokenSet set;
    set.scope = SetScope::kKvHead;
    set.lists = chosen;
    set.order = std::move(chosen);
    for (size_t i = 0; i < set.lists.size(); ++i) {
      std::sort(set.lists[i].begin(), set.lists[i].end());
      std::reverse(set.order[i].begin(), set.order[i].end());
    }
    if (!params_.self_candidate) add(set, length - 1);
    return set;
  }

  void after_step(const StepInfo& step, SelectionHistory made,
                  SelectionHistory& kept) const override {
    for (auto& [layer, set] : kept.sets) {
      if (!made.sets.contains(layer)) add(set, step.length - 1);
    }
    for (auto& [layer, set] : made.sets) kept.sets[layer] = std::move(set);
    for (auto& [layer, query] : made.queries) kept.queries[layer] = std::move(query);
  }

  bool keeps_sets() const override { return true; }
  bool may_be_released() const override { return false; }
  bool selects_after_bulk(uint32_t, uint32_t) const override { return true; }

 private:
  LayerPlan partial(uint32_t layer) const {
    LayerPlan plan;
    plan.reads = LayerPlan::Reads::kSet;
    plan.owner = layer;
    plan.adds_self = true;
    return plan;
  }
  LayerPlan full(uint32_t layer) const {
    LayerPlan plan;
    plan.selects = true;
    if (!params_.score_only) return plan;
    plan.reads = LayerPlan::Reads::kSet;
    plan.owner = layer;
    return plan;
  }
  /// Puts the newest position behind all others, and lets the front go when there are more than K.
  void add(TokenSet& set, Position newest) const {
    for (size_t i = 0; i < set.lists.size(); ++i) {
      auto& list = set.lists[i];
      auto& order = set.order[i];
      list.push_back(newest);
      order.push_back(newest);
      if (list.size() <= params_.budget) continue;
      list.erase(std::lower_bound(list.begin(), list.end(), order.front()));
      order.erase(order.begin());
    }
  }

  control::PolicyParams params_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_recycled_policy(const control::PolicyParams& params) {
  return std::make_unique<RecycledPolicy>(params);
}

}  // namespace ebb::worker
