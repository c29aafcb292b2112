#include "score/forced.h"

#include "score/report.h"

namespace ebb::score {
namespace {

std::string with_sign(double value) { return (value >= 0 ? "+" : "") + fixed(value, 3); }

}  // namespace

Result<ForcedAnswer> force_answer(Backend& backend, const BuiltQuestion& question,
                                  const std::string& ebb) {
  Task task{question.prompt, question.decode_from, 0, ebb, false};
  task.prompt.insert(task.prompt.end(), question.answer.begin(), question.answer.end());
  const Answer answer = EBB_TRY(backend.run(task));
  if (answer.forced.size() < question.answer.size())
    return corrupt("fewer log-probabilities than the answer has tokens");
  const auto size = static_cast<std::ptrdiff_t>(question.answer.size());
  return ForcedAnswer{{answer.forced.end() - size, answer.forced.end()}, answer.cost};
}

Estimate forced_loss(const std::map<std::string, std::vector<double>>& dense,
                     const std::map<std::string, std::vector<double>>& policy) {
  std::vector<std::vector<double>> runs;
  for (const auto& [prompt, logprobs] : policy) {
    const auto paired = dense.find(prompt);
    if (paired == dense.end() || paired->second.size() != logprobs.size()) continue;
    runs.emplace_back();
    for (size_t i = 0; i < logprobs.size(); ++i)
      runs.back().push_back(paired->second[i] - logprobs[i]);
  }
  return batch_means(runs);
}

double mean_logprob(const std::map<std::string, std::vector<double>>& answers) {
  std::vector<std::vector<double>> runs;
  for (const auto& [prompt, logprobs] : answers) runs.push_back(logprobs);
  return batch_means(runs).mean;
}

std::string loss_text(const Estimate& loss) {
  if (loss.count == 0) return "-";
  const std::string mean = with_sign(loss.mean);
  if (loss.batches < 2) return mean;
  return mean + " (" + with_sign(loss.low) + " to " + with_sign(loss.high) + ")";
}

}  // namespace ebb::score
