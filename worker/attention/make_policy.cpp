// From parameters to a policy, every number checked: parameters come from another process.
#include <algorithm>
#include <cmath>

#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

/// Orders of LessIsMore's union, rank times heads, are exact in f32 up to here with 256 heads.
constexpr uint32_t kUnionBudgetMax = 1u << 16;

std::string number(uint64_t value) { return std::to_string(value); }

bool slides(std::span<const uint32_t> windows) {
  return std::any_of(windows.begin(), windows.end(), [](uint32_t w) { return w > 0; });
}

/// What TidalDecode and what is built on it need.
Result<void> check_tidal(const models::SelectionProfile& profile,
                         const control::PolicyParams& params, std::span<const uint32_t> windows) {
  const std::string who = std::string("policy ") + control::policy_name(params.kind) + ": ";
  const auto& layers = params.select_layers;
  if (layers.empty() && profile.anchors.empty()) {
    return invalid(who + "the selection profile '" + profile.name + "' has no anchors");
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i] < profile.layers && (i == 0 || layers[i - 1] < layers[i])) continue;
    return invalid(who + "select_layers must ascend and be below " + number(profile.layers) +
                   ", the model's layers");
  }
  if (uint64_t{params.sinks} + params.window >= params.budget) {
    return invalid(who + "sinks (" + number(params.sinks) + ") + window (" + number(params.window) +
                   ") must be less than budget (" + number(params.budget) + ")");
  }
  if (params.rank_union && params.scope != SetScope::kLayer) {
    return invalid(who + "the union over heads has scope layer");
  }
  if (params.rank_union && params.budget > kUnionBudgetMax) {
    return invalid(who + "budget (" + number(params.budget) + ") must be at most " +
                   number(kUnionBudgetMax) + " with the union over heads");
  }
  if (slides(windows) && params.scope != SetScope::kLayer) {
    return invalid(who + "scope " + control::scope_name(params.scope) +
                   " needs a model without sliding windows");
  }
  return {};
}

/// The schedule of refreshes and the pool over scores.
Result<void> check_refresh(const control::PolicyParams& params) {
  const std::string who = std::string("policy ") + control::policy_name(params.kind) + ": ";
  if (params.pool % 2 == 0) {
    return invalid(who + "pool (" + number(params.pool) + ") must be odd");
  }
  if (!std::isfinite(params.similarity)) return invalid(who + "similarity must be a number");
  return {};
}

Result<void> check_composed(const models::SelectionProfile& profile,
                            const control::PolicyParams& params,
                            std::span<const uint32_t> windows) {
  EBB_TRY_VOID(check_tidal(profile, params, windows));
  EBB_TRY_VOID(check_refresh(params));
  if (params.window == 0) return invalid("policy composed: window must be at least 1");
  if ((params.stride > 0) == (params.check_every > 0)) {
    return invalid("policy composed: needs stride or check_every, and not both");
  }
  if (params.stride > params.window) {
    return invalid("policy composed: stride (" + number(params.stride) +
                   ") must be at most window (" + number(params.window) +
                   "): tokens would be out of it before they can be chosen");
  }
  return {};
}

Result<void> check_anchored(const models::SelectionProfile& profile,
                            const control::PolicyParams& params,
                            std::span<const uint32_t> windows) {
  EBB_TRY_VOID(check_tidal(profile, params, windows));
  const bool scans = params.digest != control::DigestKind::kNone;
  if (params.scope != SetScope::kLayer || params.rank_union) {
    return invalid("policy anchored: has one set for all heads, scope layer");
  }
  if (params.window == 0) return invalid("policy anchored: window must be at least 1");
  if (params.predict && !scans) return invalid("policy anchored: predict needs a digest");
  if ((scans || params.left_out) && slides(windows)) {
    return invalid("policy anchored: digest and left_out need a model without sliding windows");
  }
  const auto& budgets = params.layer_budgets;
  if (!budgets.empty() && budgets.size() != profile.layers) {
    return invalid("policy anchored: " + number(budgets.size()) + " layer_budgets for " +
                   number(profile.layers) + " layers of the model");
  }
  for (const uint32_t budget : budgets) {
    if (budget > uint64_t{params.sinks} + params.window) continue;
    return invalid("policy anchored: layer_budgets: " + number(budget) +
                   " must be more than sinks + window");
  }
  if (!std::isfinite(params.boost) || params.boost < 0 || params.boost > 1e6f) {
    return invalid("policy anchored: hysteresis must be a number from 0 to 1000000");
  }
  return {};
}

Result<void> check_streaming(const control::PolicyParams& params) {
  if (params.window == 0) return invalid("policy streaming: window must be at least 1");
  const uint64_t least = uint64_t{params.sinks} + params.window + 1;
  if (params.kept >= least) return {};
  return invalid("policy streaming: kept (" + number(params.kept) + ") must be at least sinks + " +
                 "window + 1 (" + number(least) + ")");
}

Result<void> check_recycled(const control::PolicyParams& params,
                            std::span<const uint32_t> windows) {
  if (params.budget == 0) return invalid("policy recycled: budget must be at least 1");
  EBB_TRY_VOID(check_refresh(params));
  if (slides(windows)) {
    return invalid("policy recycled: needs a model without sliding windows");
  }
  return {};
}

Result<void> check_adore(const control::PolicyParams& params) {
  const uint64_t forced = uint64_t{params.sinks} + std::max(params.window, uint32_t{1});
  if (params.budget < forced) {
    return invalid("policy adore: budget (" + number(params.budget) + ") must be at least " +
                   number(forced) + ", sinks and window or the newest token");
  }
  const uint64_t pool = uint64_t{params.budget} + params.rebuild + 1;
  if (params.restores ? params.kept == 0 : params.kept >= pool) return {};
  return invalid("policy adore: kept (" + number(params.kept) + ") must be " +
                 (params.restores ? "0" : "at least " + number(pool)));
}

}  // namespace

TokenSet AttentionPolicy::compose(uint32_t, uint32_t, Chosen chosen) const {
  TokenSet set;
  set.lists = std::move(chosen);
  return set;
}

void AttentionPolicy::after_step(const StepInfo&, SelectionHistory made,
                                 SelectionHistory& kept) const {
  for (auto& [layer, set] : made.sets) kept.sets[layer] = std::move(set);
}

void AttentionPolicy::after_bulk(uint32_t layer, uint32_t, TokenSet set,
                                 SelectionHistory& kept) const {
  kept.sets[layer] = std::move(set);
}

models::SelectionProfile with_anchors(models::SelectionProfile profile,
                                      std::vector<uint32_t> select_layers) {
  if (select_layers.empty()) return profile;
  profile.anchors = std::move(select_layers);
  profile.full.clear();
  for (uint32_t layer = 0; layer < profile.anchors.front(); ++layer) profile.full.push_back(layer);
  return profile;
}

Result<std::unique_ptr<AttentionPolicy>> make_policy(const models::SelectionProfile& profile,
                                                     const control::PolicyParams& params,
                                                     std::span<const uint32_t> windows) {
  switch (params.kind) {
    case control::PolicyKind::kDense:
      return make_dense_policy();
    case control::PolicyKind::kTidal:
      EBB_TRY_VOID(check_tidal(profile, params, windows));
      return make_tidal_policy(with_anchors(profile, params.select_layers), params, windows);
    case control::PolicyKind::kStreaming:
      EBB_TRY_VOID(check_streaming(params));
      return make_streaming_policy(params);
    case control::PolicyKind::kRecycled:
      EBB_TRY_VOID(check_recycled(params, windows));
      return make_recycled_policy(params);
    case control::PolicyKind::kComposed:
      EBB_TRY_VOID(check_composed(profile, params, windows));
      return make_composed_policy(with_anchors(profile, params.select_layers), params, windows);
    case control::PolicyKind::kAnchored:
      EBB_TRY_VOID(check_anchored(profile, params, windows));
      return make_anchored_policy(with_anchors(profile, params.select_layers), params, windows);
    case control::PolicyKind::kAdore:
      EBB_TRY_VOID(check_adore(params));
      return make_adore_policy(params);
  }
  return invalid("policy: unknown kind " + number(static_cast<uint64_t>(params.kind)));
}

}  // namespace ebb::worker
