// Which parameters each policy reads: a parameter without effect misleads, so it is refused, in
// requests and in the configuration alike. Pure.
#pragma once

#include <cstdint>

#include "coordinator/policy_options.h"

namespace ebb::coordinator {

/// Which of the parameters that all policies share were given.
struct CommonGiven {
  bool budget = false;
  bool sinks = false;
  bool window = false;
};

/// The name of a parameter that was given and that `kind` does not read; null: there is none.
inline const char* unread_parameter(control::PolicyKind kind, const CommonGiven& common,
                                    const PolicyOptions& o) {
  using Kind = control::PolicyKind;
  constexpr auto bit = [](Kind k) { return 1u << static_cast<uint32_t>(k); };
  constexpr uint32_t tidal = bit(Kind::kTidal), composed = bit(Kind::kComposed);
  constexpr uint32_t recycled = bit(Kind::kRecycled), streaming = bit(Kind::kStreaming);
  constexpr uint32_t anchored = bit(Kind::kAnchored);
  constexpr uint32_t adore = bit(Kind::kAdore);
  constexpr uint32_t layers = tidal | composed, schedule = recycled | composed;
  const struct {
    const char* name;
    bool given;
    uint32_t readers;
  } parameters[] = {
      {"budget", common.budget, tidal | streaming | recycled | composed | anchored | adore},
      {"sinks", common.sinks, tidal | streaming | composed | anchored | adore},
      {"window", common.window, tidal | streaming | composed | anchored | adore},
      {"variant", o.variant.has_value(), tidal},
      {"scope", o.scope.has_value(), layers},
      {"select_layers", o.select_layers.has_value() || o.select_all, layers | anchored},
      {"correct_every", o.correct_every.has_value(), layers},
      {"stride", o.stride.has_value(), schedule},
      {"check_every", o.check_every.has_value(), schedule},
      {"similarity", o.similarity.has_value(), schedule},
      {"check_query", o.post_rope.has_value(), schedule},
      {"pool", o.pool.has_value(), schedule},
      {"refresh", o.refresh.has_value(), recycled},
      {"self_candidate", o.self_candidate.has_value(), recycled},
      {"digest", o.digest.has_value(), anchored},
      {"left_out", o.left_out.has_value(), anchored},
      {"hysteresis", o.hysteresis.has_value(), anchored},
      {"predict", o.predict.has_value(), anchored},
      {"layer_budgets", o.layer_budgets.has_value(), anchored},
      {"rebuild", o.rebuild.has_value(), adore},
      {"rebuild_mode", o.rebuild_mode.has_value(), adore},
  };
  for (const auto& parameter : parameters) {
    if (parameter.given && (parameter.readers & bit(kind)) == 0) return parameter.name;
  }
  return nullptr;
}

}  // namespace ebb::coordinator
