// The parameters of policy `anchored`, resolved and counted. Pure. docs/policies.md is the same in
// prose.
#pragma once

#include "coordinator/request_check.h"

namespace ebb::coordinator {

/// `budget`: K as for every policy. Errors: kInvalid, naming the field and the limit.
Result<control::PolicyParams> resolve_anchored(const RequestRules& rules,
                                               const GenerateRequest& request, uint32_t budget);

/// What a sequence keeps beside its rows, and which of its bands may be hot.
void count_aids(const RequestRules& rules, uint32_t granule_tokens,
                const control::PolicyParams& policy, SequenceSize& size);

}  // namespace ebb::coordinator
