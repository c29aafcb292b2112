#include <algorithm>

#include "base/check.h"
#include "worker/attention/policy.h"
#include "worker/attention/similarity.h"

namespace ebb::worker {
namespace {

/// Which layers choose, among what, is TidalDecode's business; when they do is decided here.
class ComposedPolicy : public AttentionPolicy {
 public:
  ComposedPolicy(std::unique_ptr<AttentionPolicy> across_layers,
                 const control::PolicyParams& params)
      : across_layers_(std::move(across_layers)), params_(params) {}

  LayerPlan plan(uint32_t layer, const StepInfo& step) const override {
    const LayerPlan fresh = across_layers_->plan(layer, step);
    if (fresh.selects) return plan_anchor(layer, step, fresh);
    if (fresh.reads == LayerPlan::Reads::kAll) return fresh;
    return reuse(fresh.owner);
  }

  std::optional<Position> second_query(Position) const override {
    // Rotated to position 0: as it was before RoPE.
    if (!remembers_queries() || params_.post_rope) return std::nullopt;
    return Position{0};
  }
  bool checks_second_query() const override { return !params_.post_rope; }
  bool remembers_queries() const override { return params_.stride == 0; }
  LayerPlan at_query(uint32_t layer, const StepInfo& step, std::span<const float> mean,
                     std::span<const float> last) const override {
    EBB_CHECK(mean.size() == last.size());
    const bool stays = has_set(layer, step) && cosine(mean, last) > params_.similarity;
    return stays ? reuse(layer) : across_layers_->plan(layer, step);
  }

  Selection selection(uint32_t layer, uint32_t length) const override {
    Selection choice = across_layers_->selection(layer, length);
    if (choice.score == Selection::Score::kProbability) choice.pool = params_.pool;
    return choice;
  }
  TokenSet compose(uint32_t layer, uint32_t length, Chosen chosen) const override {
    return across_layers_->compose(layer, length, std::move(chosen));
  }

  void after_step(const StepInfo& step, SelectionHistory made,
                  SelectionHistory& kept) const override {
    for (auto& [layer, set] : kept.sets) {
      if (!made.sets.contains(layer)) slide(set, step.length - 1);
    }
    for (auto& [layer, set] : made.sets) kept.sets[layer] = std::move(set);
    for (auto& [layer, query] : made.queries) kept.queries[layer] = std::move(query);
  }

  bool keeps_sets() const override { return true; }
  bool selects_after_bulk(uint32_t layer, uint32_t length) const override {
    return across_layers_->selects_after_bulk(layer, length);
  }
  bool may_be_released() const override { return across_layers_->may_be_released(); }
  uint32_t correct_every() const override { return across_layers_->correct_every(); }

 private:
  LayerPlan plan_anchor(uint32_t layer, const StepInfo& step, LayerPlan fresh) const {
    const bool check = params_.stride == 0 && step.step % params_.check_every == 0;
    if (!has_set(layer, step)) {
      fresh.checks = params_.stride == 0;  // its query is remembered
      return fresh;
    }
    if (params_.stride > 0 && step.step % params_.stride == 0) return fresh;
    LayerPlan plan = reuse(layer);
    plan.checks = check;
    return plan;
  }
  /// The last step, or the bulk pass, was long enough for a choice.
  bool has_set(uint32_t anchor, const StepInfo& step) const {
    return across_layers_->plan(anchor, {step.length - 1, 0}).selects;
  }
  static LayerPlan reuse(uint32_t anchor) {
    LayerPlan plan;
    plan.reads = LayerPlan::Reads::kSet;
    plan.owner = anchor;
    plan.adds_self = true;
    return plan;
  }
  /// The window moves on by one token.
  void slide(TokenSet& set, Position newest) const {
    for (auto& list : set.lists) {
      list.push_back(newest);
      const auto oldest = std::lower_bound(list.begin(), list.end(), newest - params_.window);
      EBB_CHECK(*oldest == newest - params_.window);
      list.erase(oldest);
    }
  }

  std::unique_ptr<AttentionPolicy> across_layers_;
  control::PolicyParams params_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_composed_policy(const models::SelectionProfile& profile,
                                                      const control::PolicyParams& params,
                                                      std::span<const uint32_t> windows) {
  return std::make_unique<ComposedPolicy>(make_tidal_policy(profile, params, windows), params);
}

}  // namespace ebb::worker
