// Sliding window with re-computation: every token is scored by a fresh dense prefill of the last W
// tokens and nothing else. StreamingLLM's yardstick (Xiao and others, arXiv:2309.17453): slow by
// nature, and so no policy of the service; here it is made of prompts.
#pragma once

#include <cstdint>

#include "score/backend.h"
#include "score/policy_text.h"

namespace ebb::score {

bool is_recompute(const PolicyText& policy);
/// W in tokens. Errors: kInvalid: no window, another setting.
Result<uint64_t> recompute_window(const PolicyText& policy, uint64_t context);

/// What run() gives for the task's forced tokens, but each from a prompt of `window` tokens, which
/// begins with the task's first `prefix` ones. `task.ebb` is dense's. Errors: the backend's.
Result<Answer> run_recomputed(Backend& backend, const Task& task, uint64_t window, uint64_t prefix);

}  // namespace ebb::score
