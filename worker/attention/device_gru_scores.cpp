#include "worker/attention/device_gru_scores.h"

#include <vector>

#include "worker/attention/gru_scores.h"

namespace ebb::worker {
namespace {

class DeviceGruScores final : public TokenScores {
 public:
  DeviceGruScores(const DeviceGruScorer& scorer,
                  std::unique_ptr<kernels::TokenGruSequence> sequence)
      : scorer_(scorer), sequence_(std::move(sequence)) {}
  uint32_t length() const override { return sequence_->length(); }
  Result<void> reserve(uint32_t tokens) override { return sequence_->reserve(tokens); }
  void append(std::span<const TokenId> ids, const float* embeddings) override {
    const TokenRows own{this, ids, embeddings};
    scorer_.append(std::span(&own, 1));
  }
  std::span<const float> at(Position position) override {
    const TokenScoresAt own{this, position};
    scorer_.prepare(std::span(&own, 1));
    return sequence_->scores();
  }
  kernels::TokenGruSequence* sequence() const { return sequence_.get(); }

 private:
  const DeviceGruScorer& scorer_;
  std::unique_ptr<kernels::TokenGruSequence> sequence_;
};

/// Of one of this scorer's sequences.
kernels::TokenGruSequence* sequence_of(TokenScores* scores) {
  return static_cast<DeviceGruScores*>(scores)->sequence();
}

}  // namespace

DeviceGruScorer::DeviceGruScorer(std::unique_ptr<kernels::TokenGru> gru, uint32_t width)
    : gru_(std::move(gru)), width_(width) {}

std::unique_ptr<TokenScores> DeviceGruScorer::begin() const {
  return std::make_unique<DeviceGruScores>(*this, gru_->begin());
}

void DeviceGruScorer::append(std::span<const TokenRows> rows) const {
  std::vector<kernels::TokenGru::Rows> all;
  for (const TokenRows& each : rows) {
    all.push_back(
        {sequence_of(each.scores), each.embeddings, static_cast<uint32_t>(each.ids.size())});
  }
  gru_->append(all);
}

void DeviceGruScorer::prepare(std::span<const TokenScoresAt> wanted) const {
  std::vector<kernels::TokenGru::At> all;
  for (const TokenScoresAt& each : wanted) all.push_back({sequence_of(each.scores), each.position});
  gru_->score(all);
}

Result<std::unique_ptr<TokenScorer>> make_gru_scorer(const models::AdoreController& controller,
                                                     kernels::Ops& ops) {
  auto on_host = std::make_unique<GruScorer>(controller);
  kernels::TokenGruWeights weights;
  weights.hidden = controller.hidden;
  weights.width = controller.width;
  weights.input = controller.input_weight;
  weights.input_bias = controller.input_bias;
  weights.from_input = controller.gru_weight_ih;
  weights.from_input_bias = controller.gru_bias_ih;
  weights.from_state = controller.gru_weight_hh;
  weights.from_state_bias = controller.gru_bias_hh;
  weights.head = controller.head_weight;
  weights.head_bias = controller.head_bias;
  weights.of_bucket = on_host->of_bucket();
  weights.bucket_begin = on_host->bucket_begin();
  weights.score_weight = controller.score_weight;
  weights.score_bias = controller.score_bias[0];
  auto gru = EBB_TRY(ops.make_token_gru(weights));
  if (gru == nullptr) return std::unique_ptr<TokenScorer>(std::move(on_host));
  return std::unique_ptr<TokenScorer>(
      std::make_unique<DeviceGruScorer>(std::move(gru), controller.hidden));
}

}  // namespace ebb::worker
