#include "base/check.h"
#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

class TidalPolicy : public AttentionPolicy {
 public:
  TidalPolicy(const models::SelectionProfile& profile, const control::PolicyParams& params)
      : profile_(profile), params_(params) {
    for (uint32_t layer = 0; layer < profile.layers; ++layer) {
      if (profile.layer_class(layer) == models::LayerClass::kFollower) {
        first_follower_ = layer;
        break;
      }
    }
  }

  LayerPlan layer_plan(uint32_t layer, uint32_t length) const override {
    LayerPlan plan;
    if (length <= params_.budget) return plan;  // the set would be everything
    switch (profile_.layer_class(layer)) {
      case models::LayerClass::kFull:
        break;
      case models::LayerClass::kAnchor:
        plan.selects = true;
        break;
      case models::LayerClass::kFollower:
        plan.reads = LayerPlan::Reads::kSet;
        plan.anchor = profile_.anchor_of(layer);
        break;
    }
    return plan;
  }

  SelectionRequest request(uint32_t, uint32_t length) const override {
    EBB_CHECK(length > params_.budget);
    return {params_.sinks, length - params_.window,
            params_.budget - params_.sinks - params_.window};
  }

  std::vector<Position> compose(uint32_t, uint32_t length,
                                const std::vector<Position>& merged) const override {
    std::vector<Position> set;
    set.reserve(params_.budget);
    for (Position p = 0; p < params_.sinks; ++p) set.push_back(p);
    set.insert(set.end(), merged.begin(), merged.end());
    for (Position p = length - params_.window; p < length; ++p) set.push_back(p);
    return set;
  }

  bool exact_at(uint32_t layer) const override { return layer <= first_follower_; }

 private:
  models::SelectionProfile profile_;
  control::PolicyParams params_;
  uint32_t first_follower_ = 0xffffffffu;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_tidal_policy(const models::SelectionProfile& profile,
                                                   const control::PolicyParams& params) {
  return std::make_unique<TidalPolicy>(profile, params);
}

}  // namespace ebb::worker
