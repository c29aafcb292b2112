#include "coordinator/request_check.h"

#include <algorithm>

#include "coordinator/policy_anchored.h"

namespace ebb::coordinator {
namespace {

Result<void> check_tokens(const RequestRules& rules, const GenerateRequest& request) {
  if (request.prompt.empty()) return invalid("prompt: must have at least one token");
  const auto vocabulary = static_cast<TokenId>(rules.shape.vocabulary);
  for (const TokenId token : request.prompt) {
    if (token >= 0 && token < vocabulary) continue;
    return invalid("prompt: token id " + std::to_string(token) + " is not in [0, " +
                   std::to_string(vocabulary) + ")");
  }
  return {};
}

/// A stream may run past the context: it forgets.
Result<void> check_length(const RequestRules& rules, const control::PolicyParams& policy,
                          const GenerateRequest& request) {
  const bool stream = policy.kind == control::PolicyKind::kStreaming;
  const uint64_t most = stream ? kPolicyTokensMax : rules.max_model_len;
  const uint64_t total = uint64_t{request.prompt.size()} + request.max_tokens;
  if (total <= most) return {};
  return invalid("prompt + max_tokens: " + std::to_string(request.prompt.size()) + " + " +
                 std::to_string(request.max_tokens) + " tokens is more than " +
                 (stream ? "a stream's " : "the context of ") + std::to_string(most));
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

/// Tokens of the smallest set that a layer may read.
uint32_t smallest_set(const control::PolicyParams& policy) {
  const auto& budgets = policy.layer_budgets;
  return budgets.empty() ? policy.budget : *std::min_element(budgets.begin(), budgets.end());
}

}  // namespace

Result<CheckedRequest> check_request(const RequestRules& rules, const ArenaModel& arena,
                                     GenerateRequest request) {
  EBB_TRY_VOID(check_tokens(rules, request));
  EBB_TRY_VOID(check_decode_from(request));
  const auto policy = EBB_TRY(resolve_policy(rules, arena, request));
  EBB_TRY_VOID(check_length(rules, policy, request));
  const auto prompt_tokens = static_cast<uint32_t>(request.prompt.size());

  CheckedRequest checked;
  checked.size.bulk_tokens = request.decode_from.value_or(prompt_tokens);
  checked.size.total_tokens = prompt_tokens + request.max_tokens;
  const bool adore = policy.kind == control::PolicyKind::kAdore;
  (adore ? checked.size.pool_tokens : checked.size.kept_tokens) = policy.kept;
  count_aids(rules, arena.granule_tokens, policy, checked.size);
  checked.size.budget = policy.budget;
  checked.size.layer_budgets = policy.layer_budgets;
  if (may_be_released(policy) && smallest_set(policy) < checked.size.total_tokens) {
    // Fewer rows than one step may name would stop the sequence: the budget, a granule that is
    // being restored, and the token of the step itself; and what it rebuilds.
    const uint32_t least = policy.budget + policy.rebuild + arena.granule_tokens + 1;
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
