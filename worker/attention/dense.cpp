#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

class DensePolicy : public AttentionPolicy {
 public:
  LayerPlan plan(uint32_t, const StepInfo&) const override { return {}; }
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_dense_policy() { return std::make_unique<DensePolicy>(); }

}  // namespace ebb::worker
