#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

class DensePolicy : public AttentionPolicy {
 public:
  LayerPlan layer_plan(uint32_t, uint32_t) const override { return {}; }
  SelectionRequest request(uint32_t, uint32_t) const override { return {}; }
  std::vector<Position> compose(uint32_t, uint32_t, const std::vector<Position>&) const override {
    return {};
  }
  bool exact_at(uint32_t) const override { return true; }
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_dense_policy() { return std::make_unique<DensePolicy>(); }

Result<std::unique_ptr<AttentionPolicy>> make_policy(const models::SelectionProfile& profile,
                                                     const control::PolicyParams& params,
                                                     std::span<const uint32_t> windows) {
  switch (params.kind) {
    case control::PolicyKind::kDense:
      return make_dense_policy();
    case control::PolicyKind::kTidal:
      break;
  }
  if (profile.anchors.empty()) {
    return invalid("policy tidal: the selection profile '" + profile.name + "' has no anchors");
  }
  if (uint64_t{params.sinks} + params.window >= params.budget) {
    return invalid("policy tidal: sinks (" + std::to_string(params.sinks) + ") + window (" +
                   std::to_string(params.window) + ") must be less than budget (" +
                   std::to_string(params.budget) + ")");
  }
  if (params.window == 0) return invalid("policy tidal: window must be at least 1");
  return make_tidal_policy(profile, params, windows);
}

}  // namespace ebb::worker
