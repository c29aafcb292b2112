// How much a model's answers change with some anchors or budgets: KL(dense || sparse) of the
// distributions over the whole vocabulary, token by token, teacher-forced through the worker's
// decode path.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "score/anchor_search.h"
#include "score/calibrate_error.h"
#include "score/calibrate_model.h"

namespace ebb::score {

/// One thing to try on one text.
struct Trial {
  Anchors anchors;
  size_t text = 0;
  SetSize size;
  /// Policy `anchored` in place of `tidal`: the anchors choose by digests (h3) for themselves, and
  /// estimates stand for what is left out.
  bool by_digest = false;
  std::vector<uint32_t> layer_budgets;  ///< with it; empty: alike
};

/// sum_i p_i (log p_i - log q_i), in nats; `log_p` are log-probabilities, `logits_q` are not
/// normalised.
double kl_divergence(std::span<const float> log_p, std::span<const float> logits_q);
/// Logits to log-probabilities, in place.
void to_log_probabilities(std::span<float> logits);

class AnchorJudge {
 public:
  /// An error of `between_steps` ends what runs; `batch` sequences are decoded at a time.
  AnchorJudge(CalibrateModel& model, uint32_t batch, std::function<Result<void>()> between_steps)
      : model_(model), batch_(batch), between_steps_(std::move(between_steps)) {}

  /// A text for trials, after its prefill; runs it densely once. Its number is that of earlier
  /// ones. All texts have as many tokens left. Keeps [tokens left - 1, vocabulary] floats of it.
  Result<void> add(std::unique_ptr<worker::Sequence> text);
  worker::Sequence& text(size_t number) { return *texts_[number].sequence; }
  size_t texts() const { return texts_.size(); }

  /// For each trial, the divergence at each token of its text. Errors: parameters that the policy
  /// refuses, memory, `between_steps`.
  Result<std::vector<std::vector<double>>> judge(std::span<const Trial> trials);

 private:
  struct Text {
    std::unique_ptr<worker::Sequence> sequence;
    std::vector<std::vector<float>> dense;  ///< log-probabilities by step
  };
  Result<void> judge_some(std::span<const Trial> trials, std::vector<std::vector<double>>& out);
  CalibrateModel& model_;
  uint32_t batch_;
  std::function<Result<void>()> between_steps_;
  std::vector<Text> texts_;
};

}  // namespace ebb::score
