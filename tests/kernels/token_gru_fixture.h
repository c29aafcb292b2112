// A random controller on the backend under test, and the equations in double beside it.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "kernels/token_gru.h"
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {

class TokenGruTest : public KernelsTest {
 protected:
  using Doubles = std::vector<double>;
  static constexpr uint32_t kHidden = 24, kWidth = 20, kBuckets = 40;
  static constexpr uint64_t kStateBytes = 4 * kWidth, kTokenBytes = 4 * (kWidth + 1);

  void SetUp() override {
    KernelsTest::SetUp();
    if (IsSkipped()) return;
    for (uint32_t b = 0; b < kBuckets; ++b) begins_.push_back(b < 16 ? b : 16 + (b - 16) * 20);
    for (const uint32_t count :
         {kWidth * kHidden, kWidth, 3 * kWidth * kWidth, 3 * kWidth, 3 * kWidth * kWidth,
          3 * kWidth, kWidth * kWidth, kWidth, kBuckets * kWidth, kWidth}) {
      values_.push_back(random_floats(random_, count, 0.4f));
    }
    weights_.hidden = kHidden;
    weights_.width = kWidth;
    std::span<const float>* parts[] = {&weights_.input,      &weights_.input_bias,
                                       &weights_.from_input, &weights_.from_input_bias,
                                       &weights_.from_state, &weights_.from_state_bias,
                                       &weights_.head,       &weights_.head_bias,
                                       &weights_.of_bucket,  &weights_.score_weight};
    for (size_t i = 0; i < values_.size(); ++i) *parts[i] = values_[i];
    weights_.score_bias = 0.5f;
    weights_.bucket_begin = begins_;
    machine_ = std::make_unique<Machine>(make_subject(1));
    auto made = machine_->ops().make_token_gru(weights_);
    ASSERT_TRUE(made);
    gru_ = std::move(*made);
    ASSERT_TRUE(gru_ != nullptr);
  }

  struct Text {
    Floats embeddings;
    const float* d_embeddings;
  };
  Text text(uint32_t tokens) {
    Floats values = random_floats(random_, size_t{tokens} * kHidden);
    const float* d_values = machine_->upload(values);
    return {std::move(values), d_values};
  }
  void append(TokenGruSequence& sequence, const Text& text, uint32_t tokens) {
    const TokenGru::Rows one{&sequence, text.d_embeddings + size_t{sequence.length()} * kHidden,
                             tokens};
    gru_->append(std::span(&one, 1));
  }
  Floats score(TokenGruSequence& sequence, uint32_t position) {
    const TokenGru::At one{&sequence, position};
    gru_->score(std::span(&one, 1));
    return {sequence.scores().begin(), sequence.scores().end()};
  }
  /// Told `tokens` tokens at once, then scored.
  Floats anew(const Text& text, uint32_t tokens, uint32_t position) {
    const auto sequence = gru_->begin();
    EXPECT_TRUE(sequence->reserve(tokens));
    append(*sequence, text, tokens);
    return score(*sequence, position);
  }

  static Doubles product(std::span<const float> w, std::span<const float> bias, const Doubles& x) {
    Doubles out(bias.begin(), bias.end());
    for (size_t o = 0; o < out.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) out[o] += double{w[o * x.size() + i]} * x[i];
    }
    return out;
  }
  /// Of tokens [0, position).
  Floats expected(const Text& text, uint32_t position) const {
    const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
    const TokenGruWeights& w = weights_;
    Floats scores;
    Doubles z(kWidth);
    for (uint32_t t = 0; t < position; ++t) {
      const float* e = text.embeddings.data() + size_t{t} * kHidden;
      const Doubles x = product(w.input, w.input_bias, {e, e + kHidden});
      const Doubles a = product(w.from_input, w.from_input_bias, x);
      const Doubles b = product(w.from_state, w.from_state_bias, z);
      for (size_t i = 0; i < kWidth; ++i) {
        const double reset = sigmoid(a[i] + b[i]);
        const double update = sigmoid(a[kWidth + i] + b[kWidth + i]);
        z[i] =
            (1 - update) * std::tanh(a[2 * kWidth + i] + reset * b[2 * kWidth + i]) + update * z[i];
      }
      uint32_t bucket = 0;
      while (bucket + 1 < kBuckets && begins_[bucket + 1] <= position - t) ++bucket;
      const Doubles h = product(w.head, w.head_bias, z);
      double sum = w.score_bias;
      for (size_t i = 0; i < kWidth; ++i) {
        const double y = h[i] + double{w.of_bucket[size_t{bucket} * kWidth + i]};
        sum += w.score_weight[i] * y / 2 * (1 + std::erf(y / std::sqrt(2.0)));
      }
      scores.push_back(static_cast<float>(sum));
    }
    return scores;
  }

  std::vector<Floats> values_;
  std::vector<uint32_t> begins_;
  TokenGruWeights weights_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<TokenGru> gru_;
};

}  // namespace ebb::kernels
