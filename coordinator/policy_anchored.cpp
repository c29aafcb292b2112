#include "coordinator/policy_anchored.h"

#include <algorithm>

#include "models/digest_size.h"
#include "models/layer_budgets.h"

namespace ebb::coordinator {
namespace {

using control::DigestKind;
using control::PolicyParams;

/// Preference of recent choices where a request says nothing: it halves what is fetched and costs
/// no quality (docs/quality.md).
constexpr Hysteresis kHysteresis{1.0f, 8};

std::string number(uint64_t value) { return std::to_string(value); }

uint32_t bits_of(DigestKind kind) {
  switch (kind) {
    case DigestKind::kInt4:
      return 4;
    case DigestKind::kH3:
      return 3;
    default:
      return 2;
  }
}

bool slides(const models::ModelShape& shape) {
  return std::any_of(shape.windows.begin(), shape.windows.end(), [](uint32_t w) { return w > 0; });
}

Result<void> choose_layers(const RequestRules& rules, const PolicyOptions& options,
                           PolicyParams& policy) {
  const uint32_t layers = rules.shape.layers;
  const bool scans = policy.digest != DigestKind::kNone;
  if (options.select_layers) {
    policy.select_layers = *options.select_layers;
    if (policy.select_layers.back() < layers) return {};
    return invalid("select_layers: " + number(policy.select_layers.back()) + " is not below " +
                   number(layers) + ", the model's layers");
  }
  if (options.select_all || scans) {
    if (!scans) return invalid("select_layers: all needs a digest");
    for (uint32_t layer = std::min(models::kFullByDigest, layers - 1); layer < layers; ++layer) {
      policy.select_layers.push_back(layer);
    }
    return {};
  }
  if (!rules.profile.anchors.empty()) return {};
  return invalid(
      "policy: anchored without a digest needs a selection profile with anchors (model.profile), "
      "or select_layers; \"" +
      rules.profile.name + "\" has none");
}

/// Deals K to the layers; those that share a set are one hand.
std::vector<uint32_t> deal(const RequestRules& rules, const PolicyParams& policy,
                           const std::vector<double>& weights) {
  const std::vector<uint32_t>& choosing =
      policy.select_layers.empty() ? rules.profile.anchors : policy.select_layers;
  const bool reads_own = policy.digest != DigestKind::kNone;  // else it reads everything
  std::vector<LayerRange> hands;
  for (size_t i = 0; i < choosing.size(); ++i) {
    const uint32_t end = i + 1 < choosing.size() ? choosing[i + 1] : rules.shape.layers;
    const uint32_t first = choosing[i] + (reads_own ? 0 : 1);
    if (first < end) hands.push_back({static_cast<uint16_t>(first), static_cast<uint16_t>(end)});
  }
  auto budgets = models::deal_budget(policy.budget, policy.sinks + policy.window, weights, hands);
  // Who chooses a set cuts it, whether it reads it or not.
  for (const LayerRange& hand : hands) {
    if (!reads_own) budgets[hand.begin - 1] = budgets[hand.begin];
  }
  return budgets;
}

Result<void> choose_layer_budgets(const RequestRules& rules, const PolicyOptions& options,
                                  PolicyParams& policy) {
  const std::vector<double>& of_profile = rules.profile.budget_weights;
  LayerBudgets asked;
  // With a digest each layer chooses for itself, as when the weights were measured.
  asked.from_profile = !of_profile.empty() && policy.digest != DigestKind::kNone;
  if (options.layer_budgets) asked = *options.layer_budgets;
  if (asked.from_profile && of_profile.empty()) {
    return invalid("layer_budgets: the selection profile \"" + rules.profile.name +
                   "\" has no budget_weights");
  }
  const std::vector<double>& weights = asked.from_profile ? of_profile : asked.weights;
  if (weights.empty()) return {};
  if (weights.size() != rules.shape.layers) {
    return invalid("layer_budgets: " + number(weights.size()) + " weights for " +
                   number(rules.shape.layers) + " layers of the model");
  }
  policy.layer_budgets = deal(rules, policy, weights);
  return {};
}

}  // namespace

Result<PolicyParams> resolve_anchored(const RequestRules& rules, const GenerateRequest& request,
                                      uint32_t budget) {
  const PolicyOptions& o = request.options;
  PolicyParams policy;
  policy.kind = control::PolicyKind::kAnchored;
  const bool plain = !slides(rules.shape);
  policy.digest = o.digest.value_or(plain ? DigestKind::kH3 : DigestKind::kNone);
  policy.left_out = o.left_out.value_or(plain);
  policy.predict = o.predict.value_or(false);
  if (!plain && policy.digest != DigestKind::kNone) {
    return invalid("digest: needs a model without sliding windows");
  }
  if (!plain && policy.left_out) {
    return invalid("left_out: needs a model without sliding windows");
  }
  if (policy.predict && policy.digest == DigestKind::kNone) {
    return invalid("predict: needs a digest");
  }
  const Hysteresis hysteresis = o.hysteresis.value_or(kHysteresis);
  policy.boost = hysteresis.boost;
  policy.boost_steps = hysteresis.boost > 0 ? hysteresis.steps : 0;
  EBB_TRY_VOID(choose_layers(rules, o, policy));
  policy.budget = budget;
  policy.sinks = request.sinks.value_or(rules.profile.sinks);
  const uint32_t share = std::max(uint32_t{1}, policy.budget * 2 / 5);
  policy.window = request.window.value_or(std::min(rules.profile.window, share));
  if (policy.window == 0) return invalid("window: must be at least 1, the current token");
  if (uint64_t{policy.sinks} + policy.window >= policy.budget) {
    return invalid("budget: " + number(policy.budget) + " must be more than sinks + window, " +
                   number(policy.sinks) + " + " + number(policy.window));
  }
  EBB_TRY_VOID(choose_layer_budgets(rules, o, policy));
  return policy;
}

void count_aids(const RequestRules& rules, uint32_t granule_tokens, const PolicyParams& policy,
                SequenceSize& size) {
  if (policy.kind != control::PolicyKind::kAnchored) return;
  const uint32_t layers = rules.shape.layers;
  const auto anchors = static_cast<uint32_t>(policy.select_layers.size());
  if (policy.digest != DigestKind::kNone) {
    const uint32_t first = policy.select_layers.front();
    // The first layers read everything; where there is none, bands may be hot from layer 0 on,
    // which 0 cannot say: layer 0 stays on the device.
    size.hot_from = std::max(uint32_t{1}, first);
    size.digest_layers = policy.predict ? layers - first : anchors;
    size.block_digests = std::max(
        uint32_t{1}, models::digests_in_block(bits_of(policy.digest), rules.shape.head_size,
                                              rules.shape.kv_type, granule_tokens));
    if (policy.left_out) size.sum_layers = layers - first;
  } else if (policy.left_out) {
    const models::SelectionProfile& profile = rules.profile;
    for (uint32_t layer = 0; layer < layers; ++layer) {
      const bool follows = policy.select_layers.empty()
                               ? profile.layer_class(layer) == models::LayerClass::kFollower
                               : layer > policy.select_layers.front() &&
                                     !std::binary_search(policy.select_layers.begin(),
                                                         policy.select_layers.end(), layer);
      if (follows) ++size.sum_layers;
    }
  }
  size.block_sum_tokens =
      std::max(uint32_t{1}, models::sum_tokens_in_block(rules.shape.kv_type, granule_tokens));
}

}  // namespace ebb::coordinator
