#include <algorithm>

#include "base/check.h"
#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

/// How far back something sees; kEverything: to the first token.
constexpr uint32_t kEverything = 0xffffffffu;

class TidalPolicy : public AttentionPolicy {
 public:
  TidalPolicy(const models::SelectionProfile& profile, const control::PolicyParams& params,
              std::span<const uint32_t> windows)
      : profile_(profile),
        params_(params),
        window_(profile.layers, kEverything),
        reach_(profile.layers, 0) {
    EBB_CHECK(windows.size() == profile.layers);
    for (uint32_t layer = 0; layer < profile.layers; ++layer) {
      if (windows[layer] > 0) window_[layer] = windows[layer];
      if (profile.layer_class(layer) != models::LayerClass::kFollower) continue;
      uint32_t& reach = reach_[profile.anchor_of(layer)];
      reach = std::max(reach, window_[layer]);
    }
    while (exact_layers_ < profile.layers && !sparse(exact_layers_)) ++exact_layers_;
  }

  LayerPlan layer_plan(uint32_t layer, uint32_t length) const override {
    LayerPlan plan;
    switch (profile_.layer_class(layer)) {
      case models::LayerClass::kFull:
        break;
      case models::LayerClass::kAnchor:
        plan.selects = chooses(layer, length);
        break;
      case models::LayerClass::kFollower:
        if (!chooses(profile_.anchor_of(layer), length)) break;  // the set would be everything
        plan.reads = LayerPlan::Reads::kSet;
        plan.anchor = profile_.anchor_of(layer);
        break;
    }
    return plan;
  }

  SelectionRequest request(uint32_t anchor, uint32_t length) const override {
    EBB_CHECK(chooses(anchor, length));
    const Position end = length - params_.window;
    const Position seen = first_seen(std::min(window_[anchor], reach_[anchor]), length);
    const uint32_t forced = params_.sinks - first_sink(anchor, length);
    return {std::min(std::max(params_.sinks, seen), end), end,
            params_.budget - forced - params_.window};
  }

  std::vector<Position> compose(uint32_t anchor, uint32_t length,
                                const std::vector<Position>& merged) const override {
    std::vector<Position> set;
    set.reserve(params_.budget);
    for (Position p = first_sink(anchor, length); p < params_.sinks; ++p) set.push_back(p);
    set.insert(set.end(), merged.begin(), merged.end());
    for (Position p = length - params_.window; p < length; ++p) set.push_back(p);
    return set;
  }

  bool exact_at(uint32_t layer) const override { return layer <= exact_layers_; }

 private:
  static Position first_seen(uint32_t reach, uint32_t length) {
    return length > reach ? length - reach : 0;
  }
  /// True when the layer reads a set at some length.
  bool sparse(uint32_t layer) const {
    return profile_.layer_class(layer) == models::LayerClass::kFollower &&
           reach_[profile_.anchor_of(layer)] > params_.budget;
  }
  /// True when the followers of `anchor` see more tokens than they may read.
  bool chooses(uint32_t anchor, uint32_t length) const {
    return std::min(length, reach_[anchor]) > params_.budget;
  }
  /// The sinks from here on are forced: some follower sees them.
  Position first_sink(uint32_t anchor, uint32_t length) const {
    return std::min(params_.sinks, first_seen(reach_[anchor], length));
  }

  models::SelectionProfile profile_;
  control::PolicyParams params_;
  std::vector<uint32_t> window_;  ///< by layer
  std::vector<uint32_t> reach_;   ///< by anchor: how far back its followers see, 0: none has any
  uint32_t exact_layers_ = 0;     ///< below the first layer that ever reads a set
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_tidal_policy(const models::SelectionProfile& profile,
                                                   const control::PolicyParams& params,
                                                   std::span<const uint32_t> windows) {
  return std::make_unique<TidalPolicy>(profile, params, windows);
}

}  // namespace ebb::worker
