// The model that `ebb-score calibrate` looks into: one rank of a worker in this process, without
// coordinator, store and collective. Sequences are teacher-forced, and share their beginnings: a
// prefilled text is forked for every policy that is tried on it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/model_files.h"
#include "worker/step.h"

namespace ebb::score {

/// One thread, which computes; below it those of the kernels.
class CalibrateModel {
 public:
  /// Loads the weights. `threads` 0: as many as this process may use. Errors: those of the files.
  static Result<std::unique_ptr<CalibrateModel>> open(const std::string& path, uint32_t threads);
  ~CalibrateModel();

  const models::ModelShape& shape() const { return shape_; }
  const models::Tokenizer& tokenizer() const { return *tokenizer_; }

  /// Memory for so many sequences of so many tokens; before the first one, and only while there is
  /// none. `with_aids`: and for digests and sums of each. Errors: kExhausted.
  Result<void> reserve(uint64_t sequences, uint64_t tokens, bool with_aids = false);
  /// A sequence that will be fed all of `tokens`; the first `context` are computed here, densely.
  Result<std::unique_ptr<worker::Sequence>> prefill(std::vector<TokenId> tokens, uint32_t context);
  /// The same sequence at the same length, with a policy of its own. `from` must be all on the
  /// device. Errors: kInvalid (parameters of the policy), kExhausted (no room for one more).
  Result<std::unique_ptr<worker::Sequence>> fork(const worker::Sequence& from,
                                                 const control::PolicyParams& policy);
  /// Feeds every sequence its next token through the worker's decode path; logits
  /// [sequences, vocabulary] of what follows. Sequences fail together.
  Result<std::vector<float>> step(std::span<worker::Sequence* const> sequences);

  /// For measures that run layers by themselves.
  worker::StepContext context();
  kernels::Backend& backend() { return backend_; }

 private:
  class OneRank;
  CalibrateModel();
  std::unique_ptr<models::ModelFiles> files_;
  std::unique_ptr<models::Tokenizer> tokenizer_;
  models::ModelShape shape_;
  models::SelectionProfile profile_;
  models::KvLayout layout_;
  kernels::KvShape kv_shape_;
  kernels::Backend backend_;
  std::unique_ptr<worker::Transformer> transformer_;
  std::unique_ptr<worker::Arena> arena_;
  std::unique_ptr<worker::KvMover> mover_;
  std::unique_ptr<worker::SlotLists> lists_;
  std::unique_ptr<OneRank> exchange_;
  uint64_t clock_ = 0;
  uint64_t sequences_ = 0;
};

}  // namespace ebb::score
