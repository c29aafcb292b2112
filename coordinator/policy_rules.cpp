// The policy that a request gets: defaults of profile and papers filled in, numbers checked against
// model, prompt and each other. docs/policies.md is the same in prose.
#include <algorithm>
#include <cmath>

#include "coordinator/policy_anchored.h"
#include "coordinator/policy_reads.h"
#include "coordinator/request_check.h"

namespace ebb::coordinator {
namespace {

using control::PolicyKind;
using control::PolicyParams;
using control::SetScope;

std::string number(uint64_t value) { return std::to_string(value); }

std::string known_policies() {
  std::string names;
  for (const PolicyKind kind : control::kPolicyKinds) {
    names += (names.empty() ? "" : ", ") + std::string(control::policy_name(kind));
  }
  return names;
}

Result<PolicyKind> named_policy(const std::string& key, const std::string& name) {
  for (const PolicyKind kind : control::kPolicyKinds) {
    if (name == control::policy_name(kind)) return kind;
  }
  return invalid(key + ": \"" + name + "\" is not one of " + known_policies());
}

/// Errors: kInvalid when the server's configuration does not allow it.
Result<PolicyKind> policy_kind(const RequestRules& rules, const GenerateRequest& request) {
  const auto kind = request.policy ? Result<PolicyKind>(*request.policy)
                                   : named_policy("policy.name", rules.policy.name);
  if (!kind) return kind.error();
  const auto allowed = EBB_TRY(allowed_policies(rules.policy));
  if (std::find(allowed.begin(), allowed.end(), *kind) != allowed.end()) return *kind;
  return invalid(std::string("policy: ") + control::policy_name(*kind) +
                 " is not allowed here (policy.allowed: " + rules.policy.allowed + ")");
}

uint32_t budget_of(const RequestRules& rules, const GenerateRequest& request) {
  if (request.budget) return *request.budget;
  if (rules.policy.budget != 0) return rules.policy.budget;
  const double share =
      std::ceil(rules.profile.budget_fraction * static_cast<double>(request.prompt.size()));
  const uint32_t budget = std::max(rules.profile.budget_min, static_cast<uint32_t>(share));
  return rules.policy.budget_max == 0 ? budget : std::min(budget, rules.policy.budget_max);
}

Result<void> refuse_unread(PolicyKind kind, const GenerateRequest& request) {
  const CommonGiven given{request.budget.has_value(), request.sinks.has_value(),
                          request.window.has_value()};
  const char* field = unread_parameter(kind, given, request.options);
  if (field == nullptr) return {};
  return invalid(std::string(field) + ": policy " + control::policy_name(kind) +
                 " has no such parameter");
}

bool has_sliding_window(const models::ModelShape& shape) {
  return std::any_of(shape.windows.begin(), shape.windows.end(), [](uint32_t w) { return w > 0; });
}

/// Sets of one KV head or query head: what they cannot be had with.
Result<void> check_head_scope(const RequestRules& rules, const ArenaModel& arena,
                              const std::string& what, SetScope scope) {
  if (scope == SetScope::kLayer) return {};
  if (has_sliding_window(rules.shape)) {
    return invalid(what + " needs a model without sliding windows");
  }
  if (scope == SetScope::kKvHead && arena.kept_heads > rules.shape.heads_kv) {
    return invalid(what + " needs every KV head on one rank: " + number(arena.kept_heads) +
                   " ranks share " + number(rules.shape.heads_kv) + " KV heads");
  }
  return {};
}

/// The paper's layers for a model of any depth: the third one, and again after 13 of 32.
std::vector<uint32_t> paper_layers(uint32_t layers) {
  const uint32_t again = std::max(uint32_t{3}, (13 * layers + 16) / 32);
  return again < layers ? std::vector<uint32_t>{2, again} : std::vector<uint32_t>{2};
}

/// The layers that choose; policy.kind is set.
Result<void> choose_layers(const RequestRules& rules, const PolicyOptions& options,
                           TidalVariant variant, PolicyParams& policy) {
  const uint32_t layers = rules.shape.layers;
  if (options.select_all) return invalid("select_layers: \"all\" is for policy anchored");
  if (options.select_layers) {
    policy.select_layers = *options.select_layers;
    if (policy.select_layers.back() >= layers) {
      return invalid("select_layers: " + number(policy.select_layers.back()) + " is not below " +
                     number(layers) + ", the model's layers");
    }
    return {};
  }
  if (variant == TidalVariant::kFaithful) {
    if (layers < 3) return invalid("variant: faithful needs a model of at least 3 layers");
    policy.select_layers = paper_layers(layers);
    return {};
  }
  if (!rules.profile.anchors.empty()) return {};
  return invalid(std::string("policy: ") + control::policy_name(policy.kind) +
                 " needs a selection profile with anchors (model.profile), or select_layers; \"" +
                 rules.profile.name + "\" has none");
}

/// Sinks and window beside the budget and the scope.
Result<void> check_forced(const RequestRules& rules, const ArenaModel& arena,
                          const PolicyParams& policy) {
  const bool needs_window =
      policy.scope == SetScope::kLayer || policy.kind == PolicyKind::kComposed;
  if (needs_window && policy.window == 0) {
    return invalid(
        "window: must be at least 1, the current token, with " +
        std::string(policy.kind == PolicyKind::kComposed ? "policy composed" : "scope layer"));
  }
  if (uint64_t{policy.sinks} + policy.window >= policy.budget) {
    return invalid("budget: " + number(policy.budget) + " must be more than sinks + window, " +
                   number(policy.sinks) + " + " + number(policy.window));
  }
  return check_head_scope(rules, arena, std::string("scope: ") + control::scope_name(policy.scope),
                          policy.scope);
}

Result<PolicyParams> resolve_tidal(const RequestRules& rules, const ArenaModel& arena,
                                   const GenerateRequest& request) {
  const PolicyOptions& options = request.options;
  const TidalVariant variant = options.variant.value_or(TidalVariant::kCalibrated);
  const bool faithful = variant == TidalVariant::kFaithful;
  PolicyParams policy;
  policy.kind = PolicyKind::kTidal;
  EBB_TRY_VOID(choose_layers(rules, options, variant, policy));
  policy.budget = budget_of(rules, request);
  policy.rank_union = variant == TidalVariant::kLessIsMore;
  policy.scope = options.scope.value_or(faithful ? SetScope::kQueryHead : SetScope::kLayer);
  policy.correct_every = options.correct_every.value_or(0);
  policy.sinks = request.sinks.value_or(faithful ? 0 : rules.profile.sinks);
  policy.window = request.window.value_or(faithful ? 0 : rules.profile.window);
  if (policy.rank_union && !request.window) {
    // A quarter of the budget is recent, the sinks are taken out of it.
    policy.window =
        std::max(uint32_t{1}, policy.budget / 4 - std::min(policy.budget / 4, policy.sinks));
  }
  if (policy.rank_union && policy.scope != SetScope::kLayer) {
    return invalid("scope: variant lessismore has one set for all heads, scope layer");
  }
  if (policy.rank_union && policy.budget > kUnionBudgetMax) {
    return invalid("budget: must be at most " + number(kUnionBudgetMax) +
                   " with variant lessismore");
  }
  EBB_TRY_VOID(check_forced(rules, arena, policy));
  return policy;
}

Result<PolicyParams> resolve_streaming(const RequestRules& rules, const GenerateRequest& request) {
  if (rules.shape.rope_dynamic_factor > 0) {
    return invalid(
        "policy: streaming counts positions in slots, which a model with dynamic NTK "
        "scaling cannot: its rotation depends on the length");
  }
  PolicyParams policy;
  policy.kind = PolicyKind::kStreaming;
  policy.sinks = request.sinks.value_or(4);
  const uint64_t all = budget_of(rules, request);
  policy.window =
      request.window.value_or(static_cast<uint32_t>(all > policy.sinks ? all - policy.sinks : 0));
  if (policy.window == 0) {
    return invalid("window: must be at least 1; budget counts sinks and window");
  }
  const uint64_t read = uint64_t{policy.sinks} + policy.window;
  if (read >= rules.max_model_len) {
    return invalid("window: sinks + window, " + number(policy.sinks) + " + " +
                   number(policy.window) + ", must be below the context of " +
                   number(rules.max_model_len));
  }
  if (request.budget && *request.budget != read) {
    return invalid("budget: " + number(*request.budget) + " is not sinks + window, " +
                   number(policy.sinks) + " + " + number(policy.window) +
                   ": give budget or window");
  }
  policy.budget = static_cast<uint32_t>(read);
  policy.kept = policy.budget + std::max(rules.chunk_tokens, uint32_t{1});
  return policy;
}

/// Fixed or by similarity.
Result<void> choose_schedule(const PolicyOptions& options, PolicyParams& policy) {
  const bool by_similarity = options.check_every || options.similarity || options.post_rope;
  if (options.refresh == Refresh::kNone && (options.stride || by_similarity)) {
    return invalid("refresh: none, but stride, check_every, similarity or check_query says when");
  }
  if (options.stride && by_similarity) {
    return invalid("stride: a fixed schedule has no check_every, similarity or check_query");
  }
  if (options.refresh == Refresh::kNone) return {};
  policy.stride = options.stride.value_or(0);
  if (policy.stride > 0) return {};
  policy.check_every = options.check_every.value_or(5);
  policy.similarity = static_cast<float>(options.similarity.value_or(0.85));
  return {};
}

Result<PolicyParams> resolve_recycled(const RequestRules& rules, const ArenaModel& arena,
                                      const GenerateRequest& request) {
  const PolicyOptions& o = request.options;
  EBB_TRY_VOID(check_head_scope(rules, arena, "policy: recycled", SetScope::kKvHead));
  PolicyParams policy;
  policy.kind = PolicyKind::kRecycled;
  policy.scope = SetScope::kKvHead;
  policy.sinks = 0;
  policy.window = 0;
  policy.budget = budget_of(rules, request);
  policy.pool = o.pool.value_or(7);
  policy.score_only = o.refresh == Refresh::kScoreOnly;
  policy.self_candidate = o.self_candidate.value_or(true);
  policy.post_rope = o.post_rope.value_or(false);
  EBB_TRY_VOID(choose_schedule(o, policy));
  return policy;
}

/// TidalDecode's layers with Recycled Attention's schedule.
Result<PolicyParams> resolve_composed(const RequestRules& rules, const ArenaModel& arena,
                                      const GenerateRequest& request) {
  const PolicyOptions& o = request.options;
  PolicyParams policy;
  policy.kind = PolicyKind::kComposed;
  EBB_TRY_VOID(choose_layers(rules, o, TidalVariant::kCalibrated, policy));
  policy.budget = budget_of(rules, request);
  policy.scope = o.scope.value_or(SetScope::kLayer);
  policy.sinks = request.sinks.value_or(rules.profile.sinks);
  policy.window = request.window.value_or(rules.profile.window);
  policy.correct_every = o.correct_every.value_or(0);
  policy.pool = o.pool.value_or(1);
  policy.post_rope = o.post_rope.value_or(false);
  EBB_TRY_VOID(check_forced(rules, arena, policy));
  EBB_TRY_VOID(choose_schedule(o, policy));
  if (policy.stride > policy.window) {
    return invalid("stride: must be at most window, " + number(policy.window) +
                   ": tokens would be out of it before they can be chosen");
  }
  if (policy.pool > 1 && policy.scope == SetScope::kQueryHead) {
    return invalid("pool: must be 1 with scope query_head");
  }
  return policy;
}

/// What stays is a pool of its own size, unless released rows are kept to be restored.
Result<PolicyParams> resolve_adore(const RequestRules& rules, const ArenaModel& arena,
                                   const GenerateRequest& request) {
  if (!rules.has_controller) {
    return invalid("policy: adore needs a controller for this model (model.controller)");
  }
  PolicyParams policy;
  policy.kind = PolicyKind::kAdore;
  policy.budget = budget_of(rules, request);
  policy.sinks = request.sinks.value_or(0);
  policy.window = request.window.value_or(0);
  policy.rebuild =
      request.options.rebuild.value_or(std::min(uint32_t{4}, rules.policy.rebuild_max));
  const uint64_t forced = uint64_t{policy.sinks} + std::max(policy.window, uint32_t{1});
  if (forced > policy.budget) {
    return invalid("budget: " + number(policy.budget) + " must be at least " + number(forced) +
                   ", sinks and window or the newest token");
  }
  if (policy.rebuild > rules.policy.rebuild_max) {
    return invalid("rebuild: " + number(policy.rebuild) + " is more than policy.rebuild_max, " +
                   number(rules.policy.rebuild_max));
  }
  const RebuildMode mode = request.options.rebuild_mode.value_or(RebuildMode::kRecompute);
  const SequenceSize size{.total_tokens =
                              static_cast<uint32_t>(request.prompt.size()) + request.max_tokens};
  policy.restores =
      mode == RebuildMode::kRestore ||
      (mode == RebuildMode::kAuto && all_resident_blocks(arena, size) <= arena.blocks);
  if (!policy.restores) policy.kept = policy.budget + policy.rebuild + 1;
  return policy;
}

PolicyParams resolve_dense() {
  PolicyParams policy;
  policy.sinks = 0;
  policy.window = 0;
  return policy;
}

Result<PolicyParams> resolve(const RequestRules& rules, const ArenaModel& arena,
                             const GenerateRequest& request) {
  const PolicyKind kind = EBB_TRY(policy_kind(rules, request));
  EBB_TRY_VOID(refuse_unread(kind, request));
  switch (kind) {
    case PolicyKind::kDense:
      return resolve_dense();
    case PolicyKind::kTidal:
      return resolve_tidal(rules, arena, request);
    case PolicyKind::kStreaming:
      return resolve_streaming(rules, request);
    case PolicyKind::kRecycled:
      return resolve_recycled(rules, arena, request);
    case PolicyKind::kComposed:
      return resolve_composed(rules, arena, request);
    case PolicyKind::kAnchored:
      return resolve_anchored(rules, request, budget_of(rules, request));
    case PolicyKind::kAdore:
      return resolve_adore(rules, arena, request);
  }
  return invalid("policy: unknown");
}

}  // namespace

Result<std::vector<PolicyKind>> allowed_policies(const PolicyConfig& config) {
  std::vector<PolicyKind> allowed;
  for (size_t at = 0; !config.allowed.empty() && at <= config.allowed.size();) {
    const size_t comma = std::min(config.allowed.find(',', at), config.allowed.size());
    std::string name = config.allowed.substr(at, comma - at);
    std::erase(name, ' ');
    allowed.push_back(EBB_TRY(named_policy("policy.allowed", name)));
    at = comma + 1;
  }
  if (allowed.empty()) {
    allowed.assign(std::begin(control::kPolicyKinds), std::end(control::kPolicyKinds));
  }
  return allowed;
}

Result<PolicyParams> resolve_policy(const RequestRules& rules, const ArenaModel& arena,
                                    const GenerateRequest& request) {
  const PolicyParams policy = EBB_TRY(resolve(rules, arena, request));
  const uint32_t most = rules.policy.budget_max;
  if (most == 0 || policy.budget <= most) return policy;
  return invalid("budget: " + number(policy.budget) + " is more than policy.budget_max, " +
                 number(most));
}

bool may_be_released(const PolicyParams& policy) {
  if (policy.kind == PolicyKind::kAnchored) {
    return policy.digest != control::DigestKind::kNone || policy.select_layers.empty();
  }
  if (policy.kind == PolicyKind::kAdore) return policy.restores;
  const bool by_bands = policy.kind == PolicyKind::kTidal || policy.kind == PolicyKind::kComposed;
  return by_bands && policy.scope == SetScope::kLayer && policy.select_layers.empty() &&
         policy.correct_every == 0;
}

}  // namespace ebb::coordinator
