// What a run under observation leaves behind: divergence from dense, attention mass in what was
// read. One instance looks at one run.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "score/backend.h"
#include "worker/observer.h"

namespace ebb::score {

/// Dense's distributions over the teacher-forced steps of one prompt: [steps][vocabulary] log-
/// probabilities. 200 KB a step with a vocabulary of 49 152.
struct DenseReference {
  Tokens prompt;
  uint64_t decode_from = 0;
  std::vector<std::vector<float>> logprobs;

  bool covers(const Task& task) const {
    return prompt == task.prompt && decode_from == task.decode_from &&
           logprobs.size() + decode_from + 1 == prompt.size();
  }
};

/// sum p (log p - log q) in nats, p = exp(reference), q = softmax(logits).
double divergence(std::span<const float> reference, std::span<const float> logits);
std::vector<float> log_softmax(std::span<const float> logits);

/// Engine thread. Steps are those that score prompt tokens: lengths [decode_from + 1, prompt size).
class LocalObserver final : public worker::StepObserver {
 public:
  explicit LocalObserver(const Task& task) : task_(task) {}
  /// Keeps dense's distributions there. It outlives the run, as does the next one's.
  void record(DenseReference& into);
  void compare(const DenseReference& with) { compared_ = &with; }

  void on_logits(SeqId seq, uint32_t length, std::span<const float> logits) override;
  void on_bytes(SeqId seq, uint64_t read, uint64_t dense) override;
  bool wants_reads() const override { return task_.recall; }
  void on_read(SeqId seq, uint32_t layer, std::span<const float> shares) override;

  void move_into(Answer& answer);

 private:
  const Task& task_;
  DenseReference* recorded_ = nullptr;
  const DenseReference* compared_ = nullptr;
  std::vector<double> divergence_;
  std::map<uint32_t, double> step_;  ///< of the step that runs
  std::vector<std::map<uint32_t, double>> recall_;
  uint64_t bytes_read_ = 0, bytes_dense_ = 0;
};

}  // namespace ebb::score
