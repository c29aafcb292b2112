#include "score/recompute.h"

#include <algorithm>

namespace ebb::score {

bool is_recompute(const PolicyText& policy) { return policy.name == "window-recompute"; }

Result<uint64_t> recompute_window(const PolicyText& policy, uint64_t context) {
  const auto window = tokens_of(policy, "window", context);
  if (policy.settings.size() == 1 && window && *window >= 2) return *window;
  return invalid("policy \"" + policy.label +
                 "\": has one setting, window, of 2 tokens or more: window-recompute:window=n/4");
}

Result<Answer> run_recomputed(Backend& backend, const Task& task, uint64_t window,
                              uint64_t prefix) {
  Answer out;
  prefix = std::min(prefix, window - 1);
  for (uint64_t scored = task.decode_from; scored < task.prompt.size(); ++scored) {
    const auto at = [&](uint64_t i) {
      return task.prompt.begin() + static_cast<std::ptrdiff_t>(i);
    };
    Task one;
    one.ebb = task.ebb;
    const uint64_t begin = scored > window ? scored - (window - prefix) : 0;
    if (begin > 0) one.prompt.assign(at(0), at(prefix));
    one.prompt.insert(one.prompt.end(), at(begin), at(scored + 1));
    one.decode_from = one.prompt.size() - 1;
    const Answer answer = EBB_TRY(backend.run(one));
    if (answer.forced.size() != 1) return corrupt("not one log-probability for one token");
    out.forced.push_back(answer.forced[0]);
    out.cost.add(answer.cost);
  }
  // Each token was a prefill; that is what it costs.
  out.cost.decoded = out.forced.size() - 1;
  out.cost.decode_seconds += out.cost.prefill_seconds;
  out.cost.prefill_seconds = 0;
  return out;
}

}  // namespace ebb::score
