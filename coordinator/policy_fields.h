// Reads the policy's fields of the extension object `ebb`.
#pragma once

#include "base/cluster_config.h"
#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// Fields and ranges only; what depends on model, prompt and other fields is checked by
/// resolve_policy.
void read_policy(FieldReader& fields, EbbOptions& ebb);

/// What config.policy says of requests that name no policy; `policy` is set. Errors: kInvalid,
/// naming the key.
Result<EbbOptions> read_policy_defaults(const PolicyConfig& config);

/// Fills what `asked` leaves open, if it asks for the default policy. Fields that only make sense
/// together are taken together: one of a schedule given, none of it is filled.
void take_policy_defaults(const EbbOptions& defaults, EbbOptions& asked);

}  // namespace ebb::coordinator
