// The GRU of policy adore on the device against the equations in double.
#include "kernels/cuda/gru.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/kernels/device_array.h"

namespace ebb::kernels::cuda {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Model {
  Model(std::mt19937_64& random, uint32_t hidden_, uint32_t width_)
      : hidden(hidden_), width(width_) {
    const auto draw = [&](size_t count, size_t inputs) {
      std::normal_distribution<float> normal(0, 1.5f / std::sqrt(static_cast<float>(inputs)));
      Floats values(count);
      for (float& value : values) value = normal(random);
      return values;
    };
    input = draw(size_t{width} * hidden, hidden);
    input_bias = draw(width, width);
    from_input = draw(3 * size_t{width} * width, width);
    from_input_bias = draw(3 * size_t{width}, width);
    from_state = draw(3 * size_t{width} * width, width);
    from_state_bias = draw(3 * size_t{width}, width);
    head = draw(size_t{width} * width, width);
    head_bias = draw(width, width);
    of_bucket = draw(bucket_begin.size() * width, 1);
    score_weight = draw(width, width);
  }

  static Doubles product(const Floats& w, const Floats& bias, const Doubles& x) {
    Doubles out(bias.begin(), bias.end());
    for (size_t o = 0; o < out.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) out[o] += double{w[o * x.size() + i]} * x[i];
    }
    return out;
  }
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  void step(const float* embedding, Doubles& state) const {
    const Doubles x = product(input, input_bias, {embedding, embedding + hidden});
    const Doubles a = product(from_input, from_input_bias, x);
    const Doubles b = product(from_state, from_state_bias, state);
    for (size_t i = 0; i < width; ++i) {
      const double reset = sigmoid(a[i] + b[i]);
      const double update = sigmoid(a[width + i] + b[width + i]);
      const double fresh = std::tanh(a[2 * width + i] + reset * b[2 * width + i]);
      state[i] = (1 - update) * fresh + update * state[i];
    }
  }
  double score(const float* head_input, uint32_t distance) const {
    size_t bucket = 0;
    while (bucket + 1 < bucket_begin.size() && bucket_begin[bucket + 1] <= distance) ++bucket;
    double sum = bias;
    for (size_t i = 0; i < width; ++i) {
      const double x = double{head_input[i]} + of_bucket[bucket * width + i];
      sum += score_weight[i] * x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    }
    return sum;
  }

  uint32_t hidden, width;
  Floats input, input_bias, from_input, from_input_bias, from_state, from_state_bias;
  Floats head, head_bias, of_bucket, score_weight;
  float bias = 0.25f;
  std::vector<uint32_t> bucket_begin = {0, 1, 2, 3, 5, 8, 40, 41, 300};
};

/// A model in device memory.
struct Uploaded {
  explicit Uploaded(const Model& m) {
    for (const Floats* values :
         {&m.input, &m.input_bias, &m.from_input, &m.from_input_bias, &m.from_state,
          &m.from_state_bias, &m.head, &m.head_bias, &m.of_bucket, &m.score_weight}) {
      arrays.emplace_back(*values);
    }
    weights = {m.hidden,         m.width,          arrays[0].data(), arrays[1].data(),
               arrays[2].data(), arrays[3].data(), arrays[4].data(), arrays[5].data(),
               arrays[6].data(), arrays[7].data()};
    head = {m.width,
            arrays[8].data(),
            begins.emplace_back(m.bucket_begin).data(),
            static_cast<uint32_t>(m.bucket_begin.size()),
            arrays[9].data(),
            m.bias};
  }
  std::vector<DeviceArray<float>> arrays;
  std::vector<DeviceArray<uint32_t>> begins;
  GruWeights weights;
  GruHead head;
};

class Gru : public ::testing::Test {
 protected:
  Floats random_floats(size_t count) {
    std::normal_distribution<float> normal;
    Floats values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }

  /// Appends embeddings [tokens, hidden] of one sequence, `step` tokens a call.
  Floats head_inputs(const Model& m, const Uploaded& up, const Floats& embeddings, uint32_t step) {
    const auto tokens = static_cast<uint32_t>(embeddings.size() / m.hidden);
    const DeviceArray<float> d_embeddings(embeddings), d_state(Floats(m.width, 0.0f));
    const DeviceArray<float> d_out(size_t{tokens} * m.width);
    for (uint32_t first = 0; first < tokens; first += step) {
      const GruSequence s{d_embeddings.data() + size_t{first} * m.hidden,
                          std::min(step, tokens - first), d_state.data(),
                          d_out.data() + size_t{first} * m.width};
      gru_append(*context_, up.weights, std::span(&s, 1));
    }
    return d_out.values();
  }

  std::mt19937_64 random_{4};
  std::shared_ptr<CudaContext> context_ = std::move(*CudaContext::make(0));
};

TEST_F(Gru, HeadInputsAreThoseOfTheEquations) {
  for (const auto& [hidden, width] : {std::pair{1u, 1u}, {48u, 33u}, {96u, 64u}}) {
    const Model m(random_, hidden, width);
    const Uploaded up(m);
    const Floats embeddings = random_floats(size_t{21} * hidden);
    const Floats got = head_inputs(m, up, embeddings, 21);
    Doubles state(width, 0.0);
    for (uint32_t t = 0; t < 21; ++t) {
      m.step(embeddings.data() + size_t{t} * hidden, state);
      const Doubles expected = Model::product(m.head, m.head_bias, state);
      for (uint32_t i = 0; i < width; ++i) {
        ASSERT_NEAR(got[t * width + i], expected[i], 2e-5) << "width " << width << ", token " << t;
      }
    }
  }
}

TEST_F(Gru, BitsDependOnNeitherCallsNorBatch) {
  const Model m(random_, 40, 32);
  const Uploaded up(m);
  std::vector<Floats> embeddings, alone;
  for (const uint32_t tokens : {17u, 0u, 1u, 9u}) {
    embeddings.push_back(random_floats(size_t{tokens} * 40));
    alone.push_back(head_inputs(m, up, embeddings.back(), 17));
    EXPECT_EQ(head_inputs(m, up, embeddings.back(), 4), alone.back()) << tokens;
  }
  std::vector<DeviceArray<float>> memory;
  std::vector<GruSequence> batch;
  for (const Floats& e : embeddings) {
    const float* d_embeddings = memory.emplace_back(e).data();
    float* d_state = memory.emplace_back(Floats(32, 0.0f)).data();
    float* d_out = memory.emplace_back(e.size() / 40 * 32).data();
    batch.push_back({d_embeddings, static_cast<uint32_t>(e.size() / 40), d_state, d_out});
  }
  gru_append(*context_, up.weights, batch);
  for (size_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ(memory[3 * i + 2].values(), alone[i]) << "sequence " << i;
  }
}

TEST_F(Gru, ScoresAreThoseOfTheEquationsAtEveryDistance) {
  const Model m(random_, 8, 48);
  const Uploaded up(m);
  std::vector<Floats> inputs;
  std::vector<DeviceArray<float>> d_inputs, d_scores;
  std::vector<GruScoreRow> rows;
  for (const uint32_t length : {0u, 1u, 7u, 700u}) {
    inputs.push_back(random_floats(size_t{length} * 48));
    d_scores.emplace_back(length);
    if (length == 7) inputs.back()[3 * 48] = std::numeric_limits<float>::quiet_NaN();
    d_inputs.emplace_back(inputs.back());
    rows.push_back({d_inputs.back().data(), length, d_scores.back().data()});
  }
  gru_scores(*context_, up.head, rows);
  for (size_t r = 0; r < rows.size(); ++r) {
    const Floats got = d_scores[r].values();
    for (uint32_t i = 0; i < got.size(); ++i) {
      const double expected = m.score(inputs[r].data() + size_t{i} * 48, rows[r].length - i);
      if (std::isnan(expected)) {
        EXPECT_EQ(got[i], -std::numeric_limits<float>::infinity());
      } else {
        ASSERT_NEAR(got[i], expected, 2e-5) << "row " << r << ", token " << i;
      }
    }
  }
}

TEST_F(Gru, TheNextScoresHaveTheBitsOfScoringAnew) {
  const Model m(random_, 8, 48);
  const Uploaded up(m);
  const Floats inputs = random_floats(size_t{340} * 48);
  const DeviceArray<float> d_inputs(inputs), d_next(340), d_anew(340);
  const size_t buckets = m.bucket_begin.size();
  for (uint32_t n = 1; n <= 340; ++n) {
    const DeviceArray<float> d_changed(buckets - 1);
    const GruScoreRow next{d_inputs.data(), n, d_next.data()};
    const GruScoreRow anew{d_inputs.data(), n, d_anew.data()};
    gru_next_scores(*context_, up.head, std::span(&next, 1), d_changed.data());
    if (n > 12 && n % 37 != 0 && n != 300) continue;
    gru_scores(*context_, up.head, std::span(&anew, 1));
    const Floats all = d_next.values(), expected = d_anew.values(), changed = d_changed.values();
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(all[i], expected[i]) << n << ", token " << i;
    for (size_t b = 1; b < buckets && m.bucket_begin[b] <= n; ++b) {
      EXPECT_EQ(changed[b - 1], expected[n - m.bucket_begin[b]]) << n << ", bucket " << b;
    }
  }
}

}  // namespace
}  // namespace ebb::kernels::cuda
