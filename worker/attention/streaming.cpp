#include "worker/attention/policy.h"

namespace ebb::worker {
namespace {

class StreamingPolicy : public AttentionPolicy {
 public:
  explicit StreamingPolicy(const control::PolicyParams& params)
      : pattern_{params.sinks, params.window} {}

  LayerPlan plan(uint32_t, const StepInfo& step) const override {
    LayerPlan plan;
    // Until something is left out, slots are positions: the same as dense, bit for bit.
    const bool all = step.length <= uint64_t{pattern_.sinks} + pattern_.window + 1;
    plan.reads = all ? LayerPlan::Reads::kAll : LayerPlan::Reads::kSinksWindow;
    return plan;
  }
  std::optional<Position> second_query(Position position) const override {
    return pattern_.slot(position);
  }
  std::optional<SinksWindow> sinks_window() const override { return pattern_; }

  bool may_be_released() const override { return false; }

 private:
  SinksWindow pattern_;
};

}  // namespace

std::unique_ptr<AttentionPolicy> make_streaming_policy(const control::PolicyParams& params) {
  return std::make_unique<StreamingPolicy>(params);
}

}  // namespace ebb::worker
