#include <algorithm>

#include "base/check.h"
#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

/// Who reads whose set, and what is forced into it, is TidalDecode's business. Here: where the
/// scores come from, whom they prefer, and what stands for the tokens that are not read.
class AnchoredPolicy : public AttentionPolicy {
 public:
  AnchoredPolicy(models::SelectionProfile profile, const control::PolicyParams& params,
                 std::span<const uint32_t> windows)
      : profile_(std::move(profile)),
        params_(params),
        across_layers_(make_tidal_policy(profile_, params, windows, scans())) {}

  LayerPlan plan(uint32_t layer, const StepInfo& step) const override {
    LayerPlan plan = across_layers_->plan(layer, step);
    plan.left_out = params_.left_out && plan.reads == LayerPlan::Reads::kSet;
    if (!plan.selects || !scans()) return plan;
    plan.scans = {static_cast<uint16_t>(layer),
                  static_cast<uint16_t>(params_.predict ? segment_end(layer) : layer + 1)};
    return plan;
  }

  Selection selection(uint32_t anchor, uint32_t length) const override {
    Selection choice = across_layers_->selection(anchor, length);
    if (params_.boost_steps == 0) return choice;
    choice.boost = 1 + params_.boost;
    choice.boost_steps = params_.boost_steps;
    return choice;
  }
  TokenSet compose(uint32_t anchor, uint32_t length, Chosen chosen) const override {
    return across_layers_->compose(anchor, length, std::move(chosen));
  }

  void after_step(const StepInfo& step, SelectionHistory made,
                  SelectionHistory& kept) const override {
    for (auto& [layer, set] : made.sets) remember(layer, step.step, std::move(set), kept);
  }
  void after_bulk(uint32_t layer, uint32_t, TokenSet set, SelectionHistory& kept) const override {
    remember(layer, 0, std::move(set), kept);
  }

  /// Hysteresis begins with the last row of the prompt, wherever its rows are.
  bool keeps_sets() const override { return params_.boost_steps > 0; }
  bool selects_after_bulk(uint32_t layer, uint32_t length) const override {
    return across_layers_->selects_after_bulk(layer, length);
  }
  /// With dense anchors, rows follow the layout's bands only where the profile's anchors choose.
  bool may_be_released() const override { return scans() || params_.select_layers.empty(); }

  DigestKind digest() const override { return params_.digest; }
  bool wants_digests(uint32_t layer) const override {
    if (!scans() || layer < profile_.anchors.front()) return false;
    return params_.predict || profile_.layer_class(layer) == models::LayerClass::kAnchor;
  }
  bool wants_sums(uint32_t layer) const override {
    if (!params_.left_out || profile_.layer_class(layer) == models::LayerClass::kFull) return false;
    return scans() || profile_.layer_class(layer) == models::LayerClass::kFollower;
  }

 private:
  bool scans() const { return params_.digest != DigestKind::kNone; }
  uint32_t segment_end(uint32_t anchor) const {
    const auto next = std::upper_bound(profile_.anchors.begin(), profile_.anchors.end(), anchor);
    return next == profile_.anchors.end() ? profile_.layers : *next;
  }
  void remember(uint32_t layer, uint32_t step, TokenSet set, SelectionHistory& kept) const {
    if (params_.boost_steps > 0) {
      std::vector<uint32_t>& at = kept.chosen_at[layer];
      for (Position p : set.lists[0]) {
        if (p >= at.size()) at.resize(p + 1, 0);
        at[p] = step + 1;
      }
    }
    kept.sets[layer] = std::move(set);
  }

  models::SelectionProfile profile_;
  control::PolicyParams params_;
  std::unique_ptr<AttentionPolicy> across_layers_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_anchored_policy(const models::SelectionProfile& profile,
                                                      const control::PolicyParams& params,
                                                      std::span<const uint32_t> windows) {
  return std::make_unique<AnchoredPolicy>(profile, params, windows);
}

}  // namespace ebb::worker
