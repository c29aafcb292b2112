#include "worker/attention/gru_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace ebb::worker {
namespace {

constexpr uint32_t kLinear = 64;  ///< distances that have their own bucket

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

float gelu(float x) { return x / 2 * (1 + std::erf(x * 0.70710678f)); }

}  // namespace

uint32_t distance_bucket(uint32_t distance) {
  if (distance < kLinear) return distance;
  const double octaves = std::log2(static_cast<double>(distance) / kLinear);
  const auto bucket = kLinear + static_cast<uint32_t>(std::floor(8 * octaves));
  return std::min(bucket, models::kDistanceBuckets - 1);
}

/// Memory: one vector and one score for each token.
class GruScores : public TokenScores {
 public:
  explicit GruScores(const GruScorer& scorer) : scorer_(scorer), state_(scorer.size_) {}

  uint32_t length() const override {
    return static_cast<uint32_t>(head_inputs_.size() / scorer_.size_);
  }
  void append(std::span<const TokenId> ids, const float* embeddings) override {
    for (size_t i = 0; i < ids.size(); ++i) {
      scorer_.next_state(embeddings + i * scorer_.hidden_, state_);
      head_inputs_.resize(head_inputs_.size() + scorer_.size_);
      scorer_.head_input(state_, head_inputs_.data() + head_inputs_.size() - scorer_.size_);
    }
  }
  /// From one position to the next a score changes only where the distance enters another bucket.
  std::span<const float> at(Position position) override {
    EBB_CHECK(position <= length());
    const bool next = position == scores_.size() + 1;
    if (position == scores_.size()) return scores_;
    scores_.resize(position);
    if (next) {
      for (uint32_t b = 1; b < scorer_.bucket_begin_.size(); ++b) {
        const uint32_t distance = scorer_.bucket_begin_[b];
        if (distance > position) break;
        score(position - distance, b);
      }
    } else {
      for (Position i = 0; i < position; ++i) score(i, distance_bucket(position - i));
    }
    return scores_;
  }

 private:
  void score(Position i, uint32_t bucket) {
    const float score = scorer_.score(head_inputs_.data() + uint64_t{i} * scorer_.size_, bucket);
    // Weights are finite, their products need not be.
    scores_[i] = std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
  }
  const GruScorer& scorer_;
  std::vector<float> state_;
  std::vector<float> head_inputs_;  ///< [length, size]: W0 z + b0
  std::vector<float> scores_;       ///< for the token at position scores_.size()
};

GruScorer::Matrix::Matrix(std::span<const float> rows, uint32_t outputs_, uint32_t inputs_)
    : outputs(outputs_), inputs(inputs_), columns(rows.size()) {
  EBB_CHECK(rows.size() == uint64_t{outputs} * inputs);
  for (uint64_t o = 0; o < outputs; ++o) {
    for (uint64_t i = 0; i < inputs; ++i) columns[i * outputs + o] = rows[o * inputs + i];
  }
}

void GruScorer::Matrix::add_product(const float* x, float* out) const {
  const float* column = columns.data();
  for (uint32_t i = 0; i < inputs; ++i, column += outputs) {
    const float factor = x[i];
    for (uint32_t o = 0; o < outputs; ++o) out[o] += factor * column[o];
  }
}

GruScorer::GruScorer(const models::AdoreController& c)
    : hidden_(c.hidden),
      size_(c.width),
      input_(c.input_weight, c.width, c.hidden),
      input_bias_(c.input_bias),
      from_input_(c.gru_weight_ih, 3 * c.width, c.width),
      from_state_(c.gru_weight_hh, 3 * c.width, c.width),
      bias_input_(c.gru_bias_ih),
      bias_state_(c.gru_bias_hh),
      head_(c.head_weight, c.width, c.width),
      head_bias_(c.head_bias),
      of_bucket_(c.distance.size()),
      score_weight_(c.score_weight),
      score_bias_(c.score_bias[0]) {
  for (uint64_t b = 0; b < models::kDistanceBuckets; ++b) {
    head_.add_product(c.distance.data() + b * size_, of_bucket_.data() + b * size_);
  }
  uint32_t distance = 0;
  for (uint32_t b = 0; b < models::kDistanceBuckets; ++b) {
    uint32_t end = 1u << 20;  // beyond the last bucket's begin
    while (distance < end) {
      const uint32_t middle = distance + (end - distance) / 2;
      if (distance_bucket(middle) >= b) {
        end = middle;
      } else {
        distance = middle + 1;
      }
    }
    bucket_begin_.push_back(distance);
  }
}

std::unique_ptr<TokenScores> GruScorer::begin() const { return std::make_unique<GruScores>(*this); }

/// Gates in PyTorch's order: reset, update, new.
void GruScorer::next_state(const float* embedding, std::vector<float>& state) const {
  std::vector<float> input(input_bias_);
  input_.add_product(embedding, input.data());
  std::vector<float> from_input(bias_input_), from_state(bias_state_);
  from_input_.add_product(input.data(), from_input.data());
  from_state_.add_product(state.data(), from_state.data());
  for (uint32_t i = 0; i < size_; ++i) {
    const float reset = sigmoid(from_input[i] + from_state[i]);
    const float update = sigmoid(from_input[size_ + i] + from_state[size_ + i]);
    const float fresh = std::tanh(from_input[2 * size_ + i] + reset * from_state[2 * size_ + i]);
    state[i] = (1 - update) * fresh + update * state[i];
  }
}

void GruScorer::head_input(const std::vector<float>& state, float* out) const {
  std::copy(head_bias_.begin(), head_bias_.end(), out);
  head_.add_product(state.data(), out);
}

float GruScorer::score(const float* of_token, uint32_t bucket) const {
  const float* of_bucket = of_bucket_.data() + uint64_t{bucket} * size_;
  float sum = score_bias_;
  for (uint32_t i = 0; i < size_; ++i) {
    sum += score_weight_[i] * gelu(of_token[i] + of_bucket[i]);
  }
  return sum;
}

}  // namespace ebb::worker
