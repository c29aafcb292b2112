// From a request to what the workers shall run: the policy that is in force, every number checked
// against model, profile and arena. Pure.
#pragma once

#include "base/cluster_config.h"
#include "coordinator/admission.h"
#include "coordinator/engine.h"
#include "models/model_shape.h"

namespace ebb::coordinator {

/// What requests are checked against; the same for the life of the process.
struct RequestRules {
  models::ModelShape shape;
  models::SelectionProfile profile;
  uint32_t max_model_len = 0;  ///< tokens
  PolicyConfig policy;
  uint32_t hot_tokens = 0;  ///< config.worker.hot_tokens
  ReleaseWhen release = ReleaseWhen::kPressure;
};

/// A request that may run: what scheduler.h takes.
struct CheckedRequest {
  control::OpenUnit open;  ///< all but `seq`
  SequenceSize size;
  std::vector<Placement> placements;  ///< not empty
};

/// Errors: kInvalid, naming the field and the limit.
Result<CheckedRequest> check_request(const RequestRules& rules, const ArenaModel& arena,
                                     GenerateRequest request);

/// The policy that a request gets, K in tokens. K = the request's, or config.policy.budget, or
/// max(profile.budget_min, ceil(budget_fraction * prompt tokens)). Errors: kInvalid.
Result<control::PolicyParams> resolve_policy(const RequestRules& rules,
                                             const GenerateRequest& request);

}  // namespace ebb::coordinator
