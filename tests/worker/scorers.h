// What stands in for a trained controller in tests: scores from a rule, and random numbers.
#pragma once

#include <functional>
#include <vector>

#include "base/check.h"
#include "models/adore_controller.h"
#include "tests/support/tiny_llama.h"
#include "worker/attention/token_scores.h"

namespace ebb::worker::testing {

inline models::AdoreController random_controller(uint64_t seed, uint32_t hidden, uint32_t width) {
  ebb::testing::TinyRandom random(seed);
  models::AdoreController c;
  c.model_name = "tiny";
  c.hidden = hidden;
  c.width = width;
  c.input_weight = random.values(width * hidden, 0.2f);
  c.input_bias = random.values(width, 0.1f);
  c.gru_weight_ih = random.values(3 * width * width, 0.5f);
  c.gru_weight_hh = random.values(3 * width * width, 0.5f);
  c.gru_bias_ih = random.values(3 * width, 0.3f);
  c.gru_bias_hh = random.values(3 * width, 0.3f);
  c.distance = random.values(models::kDistanceBuckets * width, 0.7f);
  c.head_weight = random.values(width * width, 0.5f);
  c.head_bias = random.values(width, 0.2f);
  c.score_weight = random.values(width, 1);
  c.score_bias = random.values(1, 1);
  return c;
}

/// Scores by what the ids are, wherever they stand.
class ParityScorer : public TokenScorer {
 public:
  explicit ParityScorer(uint32_t width) : width_(width) {}
  uint32_t width() const override { return width_; }
  std::unique_ptr<TokenScores> begin() const override { return std::make_unique<Scores>(); }

 private:
  class Scores : public TokenScores {
   public:
    uint32_t length() const override { return static_cast<uint32_t>(scores_.size()); }
    void append(std::span<const TokenId> ids, const float*) override {
      for (const TokenId id : ids) scores_.push_back(static_cast<float>(id % 7));
    }
    std::span<const float> at(Position position) override {
      return std::span(scores_).first(position);
    }

   private:
    std::vector<float> scores_;
  };
  uint32_t width_;
};

/// score(i, n) of token i for the token at n.
using Rule = std::function<float(Position, Position)>;

class OracleScorer : public TokenScorer {
 public:
  OracleScorer(uint32_t width, Rule rule) : width_(width), rule_(std::move(rule)) {}
  uint32_t width() const override { return width_; }
  std::unique_ptr<TokenScores> begin() const override { return std::make_unique<Scores>(rule_); }

 private:
  class Scores : public TokenScores {
   public:
    explicit Scores(Rule rule) : rule_(std::move(rule)) {}
    uint32_t length() const override { return length_; }
    void append(std::span<const TokenId> ids, const float*) override {
      length_ += static_cast<uint32_t>(ids.size());
    }
    std::span<const float> at(Position position) override {
      EBB_CHECK(position <= length_);
      scores_.clear();
      for (Position i = 0; i < position; ++i) scores_.push_back(rule_(i, position));
      return scores_;
    }

   private:
    Rule rule_;
    uint32_t length_ = 0;
    std::vector<float> scores_;
  };
  uint32_t width_;
  Rule rule_;
};

}  // namespace ebb::worker::testing
