#include "coordinator/request_check.h"

#include <algorithm>
#include <cmath>

namespace ebb::coordinator {
namespace {

Result<control::PolicyKind> policy_kind(const RequestRules& rules, const GenerateRequest& request) {
  if (request.policy) return *request.policy;
  for (const auto kind : {control::PolicyKind::kDense, control::PolicyKind::kTidal}) {
    if (rules.policy.name == control::policy_name(kind)) return kind;
  }
  return invalid("policy.name: \"" + rules.policy.name + "\" is not one of dense, tidal");
}

uint32_t default_budget(const RequestRules& rules, size_t prompt_tokens) {
  if (rules.policy.budget != 0) return rules.policy.budget;
  const double share =
      std::ceil(rules.profile.budget_fraction * static_cast<double>(prompt_tokens));
  return std::max(rules.profile.budget_min, static_cast<uint32_t>(share));
}

Result<void> check_tokens(const RequestRules& rules, const GenerateRequest& request) {
  if (request.prompt.empty()) return invalid("prompt: must have at least one token");
  const auto vocabulary = static_cast<TokenId>(rules.shape.vocabulary);
  for (const TokenId token : request.prompt) {
    if (token >= 0 && token < vocabulary) continue;
    return invalid("prompt: token id " + std::to_string(token) + " is not in [0, " +
                   std::to_string(vocabulary) + ")");
  }
  const uint64_t total = uint64_t{request.prompt.size()} + request.max_tokens;
  if (total > rules.max_model_len) {
    return invalid("prompt + max_tokens: " + std::to_string(request.prompt.size()) + " + " +
                   std::to_string(request.max_tokens) + " tokens is more than the context of " +
                   std::to_string(rules.max_model_len));
  }
  return {};
}

Result<void> check_decode_from(const GenerateRequest& request) {
  if (request.decode_from &&
      (*request.decode_from < 1 || *request.decode_from > request.prompt.size())) {
    return invalid("decode_from: " + std::to_string(*request.decode_from) + " is not in [1, " +
                   std::to_string(request.prompt.size()) + "], the prompt's tokens");
  }
  if (request.max_tokens == 0 && !request.sampling.prompt_logprobs && !request.decode_from) {
    return invalid("max_tokens: 0 asks for nothing without echo and logprobs, or decode_from");
  }
  return {};
}

}  // namespace

Result<control::PolicyParams> resolve_policy(const RequestRules& rules,
                                             const GenerateRequest& request) {
  control::PolicyParams policy;
  policy.kind = EBB_TRY(policy_kind(rules, request));
  if (policy.kind == control::PolicyKind::kDense) {
    policy.sinks = 0;
    policy.window = 0;
    return policy;
  }
  if (rules.profile.anchors.empty()) {
    return invalid("policy: tidal needs a selection profile with anchors (model.profile); \"" +
                   rules.profile.name + "\" has none");
  }
  policy.budget = request.budget.value_or(default_budget(rules, request.prompt.size()));
  policy.sinks = request.sinks.value_or(rules.profile.sinks);
  policy.window = request.window.value_or(rules.profile.window);
  if (policy.window == 0) return invalid("window: must be at least 1, the current token");
  if (uint64_t{policy.sinks} + policy.window >= policy.budget) {
    return invalid("budget: " + std::to_string(policy.budget) +
                   " must be more than sinks + window, " + std::to_string(policy.sinks) + " + " +
                   std::to_string(policy.window));
  }
  return policy;
}

Result<CheckedRequest> check_request(const RequestRules& rules, const ArenaModel& arena,
                                     GenerateRequest request) {
  EBB_TRY_VOID(check_tokens(rules, request));
  EBB_TRY_VOID(check_decode_from(request));
  const auto policy = EBB_TRY(resolve_policy(rules, request));
  const auto prompt_tokens = static_cast<uint32_t>(request.prompt.size());

  CheckedRequest checked;
  checked.size.bulk_tokens = request.decode_from.value_or(prompt_tokens);
  checked.size.total_tokens = prompt_tokens + request.max_tokens;
  if (policy.kind != control::PolicyKind::kDense && policy.budget < checked.size.total_tokens) {
    // Fewer rows than one step may name would stop the sequence: the budget, a granule that is
    // being restored, and the token of the step itself.
    const uint32_t least = policy.budget + arena.granule_tokens + 1;
    const uint32_t wanted = rules.hot_tokens != 0 ? rules.hot_tokens : 2 * policy.budget;
    checked.size.hot_tokens = std::max(least, wanted);
  }
  checked.placements = EBB_TRY(placements(arena, checked.size, rules.release));
  checked.open.prompt = std::move(request.prompt);
  checked.open.max_tokens = request.max_tokens;
  checked.open.decode_from = checked.size.bulk_tokens;
  checked.open.policy = policy;
  checked.open.sampling = std::move(request.sampling);
  checked.open.constraint = std::move(request.constraint);
  checked.open.trace_selection = request.trace_selection;
  return checked;
}

}  // namespace ebb::coordinator
