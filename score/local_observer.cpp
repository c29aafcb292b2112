#include "score/local_observer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace ebb::score {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
  return best + std::log(sum);
}

}  // namespace

std::vector<float> log_softmax(std::span<const float> logits) {
  const double all = log_sum_exp(logits);
  std::vector<float> out;
  out.reserve(logits.size());
  for (const float logit : logits) out.push_back(static_cast<float>(logit - all));
  return out;
}

/// The policy's side is rounded as the reference was, so that equal logits diverge by exactly 0.
double divergence(std::span<const float> reference, std::span<const float> logits) {
  EBB_CHECK(reference.size() == logits.size());
  const double all = log_sum_exp(logits);
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = reference[i];
    const double q = static_cast<float>(logits[i] - all);
    sum += std::exp(p) * (p - q);
  }
  return sum;
}

void LocalObserver::record(DenseReference& into) {
  into.prompt = task_.prompt;
  into.decode_from = task_.decode_from;
  into.logprobs.clear();
  recorded_ = &into;
}

void LocalObserver::on_logits(SeqId, uint32_t length, std::span<const float> logits) {
  if (length >= task_.prompt.size()) return;
  const size_t step = length - task_.decode_from - 1;
  if (recorded_ != nullptr) recorded_->logprobs.push_back(log_softmax(logits));
  if (compared_ != nullptr) divergence_.push_back(divergence(compared_->logprobs.at(step), logits));
  if (task_.recall) recall_.push_back(std::exchange(step_, {}));
}

void LocalObserver::on_read(SeqId, uint32_t layer, std::span<const float> shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  step_[layer] = sum / static_cast<double>(shares.size());
}

void LocalObserver::on_bytes(SeqId, uint64_t read, uint64_t dense) {
  bytes_read_ += read;
  bytes_dense_ += dense;
}

void LocalObserver::move_into(Answer& answer) {
  answer.cost.kv_bytes_read = bytes_read_;
  answer.cost.kv_bytes_dense = bytes_dense_;
  answer.divergence = std::move(divergence_);
  answer.recall = std::move(recall_);
}

}  // namespace ebb::score
