// The teacher-forced side of tasks with a known answer: what a policy's decode path thinks of the
// right one, paired with dense.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "score/backend.h"
#include "score/haystack.h"
#include "score/statistics.h"

namespace ebb::score {

struct ForcedAnswer {
  std::vector<double> logprobs;  ///< of the answer's tokens
  Cost cost;
};
/// One request: prompt and right answer, from the question on through the decode path. Errors: the
/// service's.
Result<ForcedAnswer> force_answer(Backend& backend, const BuiltQuestion& question,
                                  const std::string& ebb);

/// Mean of dense minus policy per answer token, over the prompts that both have; prompts are
/// independent runs.
Estimate forced_loss(const std::map<std::string, std::vector<double>>& dense,
                     const std::map<std::string, std::vector<double>>& policy);
double mean_logprob(const std::map<std::string, std::vector<double>>& answers);
/// "+0.012 (-0.003 to +0.027)"; without an interval where there is one batch.
std::string loss_text(const Estimate& loss);

}  // namespace ebb::score
