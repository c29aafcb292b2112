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
  bool has_controller = false;  ///< policy adore can be had
  uint32_t hot_tokens = 0;      ///< config.worker.hot_tokens
  uint32_t chunk_tokens = 512;  ///< config.coordinator.chunk_tokens
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
/// max(profile.budget_min, ceil(budget_fraction * prompt tokens)). Errors: kInvalid, naming the
/// field and the limit; also for fields that the policy does not read. (policy_rules.cpp)
Result<control::PolicyParams> resolve_policy(const RequestRules& rules, const ArenaModel& arena,
                                             const GenerateRequest& request);

/// The policies that requests may choose. Errors: kInvalid, naming a name that is no policy.
/// (policy_rules.cpp)
Result<std::vector<control::PolicyKind>> allowed_policies(const PolicyConfig& config);

/// False where some layer may want any row at any step, or sets do not follow the layout's bands.
bool may_be_released(const control::PolicyParams& policy);

}  // namespace ebb::coordinator
