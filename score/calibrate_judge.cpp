#include "score/calibrate_judge.h"

#include <algorithm>
#include <cmath>

namespace ebb::score {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const auto most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - most);
  return most + std::log(sum);
}

control::PolicyParams policy_of(const Trial& trial) {
  control::PolicyParams policy;
  policy.kind = control::PolicyKind::kTidal;
  policy.budget = trial.size.budget;
  policy.sinks = trial.size.sinks;
  policy.window = trial.size.window;
  policy.select_layers = trial.anchors;
  if (!trial.by_digest) return policy;
  policy.kind = control::PolicyKind::kAnchored;
  policy.digest = control::DigestKind::kH3;
  policy.left_out = true;
  policy.layer_budgets = trial.layer_budgets;
  return policy;
}

/// Steps that a sequence has left: the last token is only predicted.
size_t steps_left(const worker::Sequence& sequence) {
  return sequence.tokens.size() - sequence.length - 1;
}

}  // namespace

double kl_divergence(std::span<const float> log_p, std::span<const float> logits_q) {
  const double norm = log_sum_exp(logits_q);
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); ++i) {
    const auto lp = static_cast<double>(log_p[i]);
    sum += std::exp(lp) * (lp - (static_cast<double>(logits_q[i]) - norm));
  }
  return sum;
}

void to_log_probabilities(std::span<float> logits) {
  const double norm = log_sum_exp(logits);
  for (float& x : logits) x = static_cast<float>(static_cast<double>(x) - norm);
}

Result<void> AnchorJudge::add(std::unique_ptr<worker::Sequence> text) {
  Text added{std::move(text), {}};
  const auto dense = EBB_TRY(model_.fork(*added.sequence, control::PolicyParams{}));
  worker::Sequence* const one[] = {dense.get()};
  for (size_t step = steps_left(*added.sequence); step > 0; --step) {
    EBB_TRY_VOID(between_steps_());
    added.dense.push_back(EBB_TRY(model_.step(one)));
    to_log_probabilities(added.dense.back());
  }
  texts_.push_back(std::move(added));
  return {};
}

Result<std::vector<std::vector<double>>> AnchorJudge::judge(std::span<const Trial> trials) {
  std::vector<std::vector<double>> out;
  for (size_t at = 0; at < trials.size(); at += batch_) {
    const size_t count = std::min<size_t>(batch_, trials.size() - at);
    EBB_TRY_VOID(judge_some(trials.subspan(at, count), out));
  }
  return out;
}

Result<void> AnchorJudge::judge_some(std::span<const Trial> trials,
                                     std::vector<std::vector<double>>& out) {
  std::vector<std::unique_ptr<worker::Sequence>> forks;
  std::vector<worker::Sequence*> batch;
  for (const Trial& trial : trials) {
    forks.push_back(EBB_TRY(model_.fork(*texts_[trial.text].sequence, policy_of(trial))));
    batch.push_back(forks.back().get());
  }
  const size_t first = out.size();
  out.resize(first + trials.size());
  const size_t vocabulary = model_.shape().vocabulary;
  const size_t steps = steps_left(*batch[0]);
  for (size_t step = 0; step < steps; ++step) {
    EBB_TRY_VOID(between_steps_());
    const std::vector<float> logits = EBB_TRY(model_.step(batch));
    for (size_t i = 0; i < trials.size(); ++i) {
      const std::vector<float>& dense = texts_[trials[i].text].dense[step];
      out[first + i].push_back(
          kl_divergence(dense, std::span(logits).subspan(i * vocabulary, vocabulary)));
    }
  }
  return {};
}

}  // namespace ebb::score
