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
              std::span<const uint32_t> windows, bool sparse_anchors)
      : profile_(profile),
        params_(params),
        sparse_anchors_(sparse_anchors),
        window_(profile.layers, kEverything),
        reach_(profile.layers, 0) {
    EBB_CHECK(windows.size() == profile.layers);
    for (uint32_t layer = 0; layer < profile.layers; ++layer) {
      if (windows[layer] > 0) window_[layer] = windows[layer];
      const models::LayerClass is = profile.layer_class(layer);
      const bool reads_own = sparse_anchors && is == models::LayerClass::kAnchor;
      if (is != models::LayerClass::kFollower && !reads_own) continue;
      uint32_t& reach = reach_[reads_own ? layer : profile.anchor_of(layer)];
      reach = std::max(reach, window_[layer]);
    }
  }

  LayerPlan plan(uint32_t layer, const StepInfo& step) const override {
    LayerPlan plan;
    switch (profile_.layer_class(layer)) {
      case models::LayerClass::kFull:
        break;
      case models::LayerClass::kAnchor:
        plan.selects = chooses(layer, step.length);
        if (!plan.selects || !sparse_anchors_) break;
        plan.reads = LayerPlan::Reads::kSet;
        plan.owner = layer;
        break;
      case models::LayerClass::kFollower:
        if (!chooses(profile_.anchor_of(layer), step.length)) break;  // the set would be everything
        plan.reads = LayerPlan::Reads::kSet;
        plan.owner = profile_.anchor_of(layer);
        break;
    }
    return plan;
  }

  Selection selection(uint32_t anchor, uint32_t length) const override {
    EBB_CHECK(chooses(anchor, length));
    Selection choice;
    choice.scope = params_.scope;
    // Of one head alone the best logits are the best probabilities.
    if (params_.scope == SetScope::kQueryHead) choice.score = Selection::Score::kLogit;
    if (params_.rank_union) choice.score = Selection::Score::kRankUnion;
    choice.end = length - params_.window;
    const Position seen = first_seen(std::min(window_[anchor], reach_[anchor]), length);
    const uint32_t forced = params_.sinks - first_sink(anchor, length);
    choice.begin = std::min(std::max(params_.sinks, seen), choice.end);
    choice.take = budget(anchor) - forced - params_.window;
    return choice;
  }

  TokenSet compose(uint32_t anchor, uint32_t length, Chosen chosen) const override {
    TokenSet set;
    set.scope = params_.scope;
    for (std::vector<Position>& best : chosen) {
      std::vector<Position> list;
      list.reserve(budget(anchor));
      for (Position p = first_sink(anchor, length); p < params_.sinks; ++p) list.push_back(p);
      std::sort(best.begin(), best.end());
      list.insert(list.end(), best.begin(), best.end());
      for (Position p = length - params_.window; p < length; ++p) list.push_back(p);
      set.lists.push_back(std::move(list));
    }
    return set;
  }

  bool selects_after_bulk(uint32_t layer, uint32_t length) const override {
    return plan(layer, {length, 0}).selects;
  }
  bool may_be_released() const override {
    return params_.scope == SetScope::kLayer && params_.select_layers.empty() &&
           params_.correct_every == 0;
  }
  uint32_t correct_every() const override { return params_.correct_every; }

 private:
  /// Tokens of the set that `anchor` chooses.
  uint32_t budget(uint32_t anchor) const {
    return params_.layer_budgets.empty() ? params_.budget : params_.layer_budgets[anchor];
  }
  static Position first_seen(uint32_t reach, uint32_t length) {
    return length > reach ? length - reach : 0;
  }
  /// True when the followers of `anchor` see more tokens than they may read.
  bool chooses(uint32_t anchor, uint32_t length) const {
    return std::min(length, reach_[anchor]) > budget(anchor);
  }
  /// The sinks from here on are forced: some follower sees them.
  Position first_sink(uint32_t anchor, uint32_t length) const {
    return std::min(params_.sinks, first_seen(reach_[anchor], length));
  }

  models::SelectionProfile profile_;
  control::PolicyParams params_;
  bool sparse_anchors_;
  std::vector<uint32_t> window_;  ///< by layer
  /// By anchor: how far back those who read its set see; 0: nobody reads it.
  std::vector<uint32_t> reach_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_tidal_policy(const models::SelectionProfile& profile,
                                                   const control::PolicyParams& params,
                                                   std::span<const uint32_t> windows,
                                                   bool sparse_anchors) {
  return std::make_unique<TidalPolicy>(profile, params, windows, sparse_anchors);
}

}  // namespace ebb::worker
