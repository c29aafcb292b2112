// ADORE's controller on the device, where the embeddings are; and the choice between it and the
// host's (gru_scores.h). Engine thread: as its backend's operations.
#pragma once

#include <memory>

#include "kernels/ops.h"
#include "kernels/token_gru.h"
#include "models/adore_controller.h"
#include "worker/attention/token_scores.h"

namespace ebb::worker {

class DeviceGruScorer final : public TokenScorer {
 public:
  /// `width`: elements of an embedding.
  DeviceGruScorer(std::unique_ptr<kernels::TokenGru> gru, uint32_t width);
  uint32_t width() const override { return width_; }
  kernels::MemoryKind reads() const override { return kernels::MemoryKind::kDevice; }
  std::unique_ptr<TokenScores> begin() const override;
  void append(std::span<const TokenRows> rows) const override;
  void prepare(std::span<const TokenScoresAt> wanted) const override;
  uint64_t device_bytes() const override { return gru_->device_bytes(); }

 private:
  std::unique_ptr<kernels::TokenGru> gru_;
  uint32_t width_;
};

/// Where `ops` compute, if their backend has it, else on the host. Must not outlive the operations.
/// Errors: those of Ops::make_token_gru.
Result<std::unique_ptr<TokenScorer>> make_gru_scorer(const models::AdoreController& controller,
                                                     kernels::Ops& ops);

}  // namespace ebb::worker
