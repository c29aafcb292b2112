// Tokens drawn on the device are those that the worker's sampler draws, whatever is asked for.
#include "kernels/cuda/sampling.h"

#include <algorithm>
#include <limits>

#include "tests/kernels/kernels_fixture.h"
#include "worker/sampler.h"

namespace ebb::kernels::cuda {
namespace {

class DeviceSampling : public ::testing::Test {
 protected:
  /// What one row is told beside its sampling parameters.
  struct Adjusting {
    std::vector<SeenToken> seen;
    std::vector<LogitBias> biases;
    std::vector<uint64_t> allowed;
  };

  /// Draws at `draws` positions on both sides; on the device row i has the logits of draw i, and
  /// the draws are told backwards.
  void compare(const Floats& logits, control::SamplingParams params, uint32_t draws,
               const std::string& what, const Adjusting& by = {}) {
    std::vector<Draw> rows;
    Floats all;
    for (Position p = draws; p-- > 0;) {
      Draw row;
      row.row = p;
      row.repetition_penalty = params.repetition_penalty;
      row.presence_penalty = params.presence_penalty;
      row.frequency_penalty = params.frequency_penalty;
      row.seen = by.seen;
      row.biases = by.biases;
      row.allowed = by.allowed;
      row.temperature = params.temperature;
      row.top_k = params.top_k;
      row.typical_p = params.typical_p;
      row.top_p = params.top_p;
      row.min_p = params.min_p;
      row.uniform = worker::keyed_uniform(params.seed, p);
      rows.push_back(row);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    const auto vocabulary = static_cast<uint32_t>(logits.size());
    const float* d_logits = m_.upload(all);
    const std::vector<TokenId> tokens = m_.ops().draw(d_logits, vocabulary, rows);
    expect_same_bits(m_.download(d_logits, all.size()), all, what + ": logits stay");
    Floats adjusted = logits;
    for (const LogitBias& one : by.biases) params.logit_bias.push_back({one.token, one.bias});
    worker::adjust_logits(adjusted, params, by.seen);
    for (size_t id = 0; id < adjusted.size() && !by.allowed.empty(); ++id) {
      const bool in = id / 64 < by.allowed.size() && (by.allowed[id / 64] >> (id % 64) & 1) != 0;
      if (!in) adjusted[id] = -std::numeric_limits<float>::infinity();
    }
    worker::Sampler sampler;
    for (Position p = 0; p < draws; ++p) {
      ASSERT_EQ(tokens[draws - 1 - p], sampler.sample(adjusted, params, p))
          << what << ", position " << p;
    }
  }

  static control::SamplingParams params(float temperature, uint32_t top_k, float top_p,
                                        float min_p) {
    control::SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    params.seed = 12345;
    return params;
  }

  Random random_{5};
  Machine m_{std::move(*make_backend("cuda", 1))};
};

TEST_F(DeviceSampling, EveryMixOfFiltersDrawsTheWorkersTokens) {
  for (const uint32_t vocabulary : {1u, 7u, 900u}) {
    Floats logits = random_floats(random_, vocabulary, 3.0f);
    for (size_t i = 1; i < logits.size(); i += 5) logits[i] = std::round(logits[i]);  // ties
    for (size_t i = 2; i < logits.size(); i += 7) {
      logits[i] = -std::numeric_limits<float>::infinity();
    }
    for (const uint32_t top_k : {0u, 1u, 3u, 40u, 5000u}) {
      for (const float top_p : {1.0f, 0.9f, 0.05f}) {
        for (const float min_p : {0.0f, 0.02f}) {
          compare(logits, params(0.8f, top_k, top_p, min_p), 6,
                  std::to_string(vocabulary) + " k " + std::to_string(top_k) + " p " +
                      std::to_string(top_p) + " min " + std::to_string(min_p));
        }
      }
    }
  }
}

TEST_F(DeviceSampling, TemperaturesFromGreedyToFlat) {
  Floats logits = random_floats(random_, 700, 4.0f);
  logits[600] = logits[20] = 30;
  for (const float temperature : {0.0f, 0.05f, 1.0f, 100.0f}) {
    compare(logits, params(temperature, 0, 1, 0), 12, "temperature " + std::to_string(temperature));
    compare(logits, params(temperature, 50, 0.95f, 0), 4, "filtered");
  }
}

TEST_F(DeviceSampling, EqualLogitsAreTakenInOrderOfIds) {
  compare(Floats(500, -0.0f), params(1, 0, 1, 0), 12, "all equal");
  compare(Floats(500, 2.5f), params(1, 17, 1, 0), 12, "17 of equals");
  compare(Floats(500, 2.5f), params(1, 0, 0.3f, 0), 12, "a share of equals");
  Floats zeros(64, 0.0f);
  for (size_t i = 0; i < zeros.size(); i += 2) zeros[i] = -0.0f;
  compare(zeros, params(1, 9, 1, 0), 12, "both zeros are equal");
}

TEST_F(DeviceSampling, ABlockHasWholeWarpsForAnyVocabulary) {
  for (const uint32_t vocabulary : {0u, 1u, 31u, 512u, 513u, 49152u, 128256u, 0xffffffffu}) {
    const uint32_t threads = sampling_threads(vocabulary);
    EXPECT_TRUE(threads >= 32 && threads <= 1024 && threads % 32 == 0) << vocabulary;
  }
  EXPECT_EQ(sampling_threads(128256), 1024u);
}

TEST_F(DeviceSampling, TypicalTokensAreThoseOfTheWorker) {
  for (const uint32_t vocabulary : {1u, 40u, 900u}) {
    Floats logits = random_floats(random_, vocabulary, 2.0f);
    for (size_t i = 3; i < logits.size(); i += 11) logits[i] = logits[i - 1];  // equals
    for (const float typical_p : {0.95f, 0.5f, 0.02f}) {
      for (const uint32_t top_k : {0u, 25u}) {
        for (const float top_p : {1.0f, 0.6f}) {
          for (const float min_p : {0.0f, 0.3f}) {
            control::SamplingParams all = params(0.9f, top_k, top_p, min_p);
            all.typical_p = typical_p;
            compare(logits, all, 5,
                    std::to_string(vocabulary) + " typical " + std::to_string(typical_p) + " k " +
                        std::to_string(top_k) + " p " + std::to_string(top_p) + " min " +
                        std::to_string(min_p));
          }
        }
      }
    }
  }
  // Typical tokens need not include the best one: it is too little of a surprise.
  Floats logits(200, 0.0f);
  logits[7] = 4.0f;
  control::SamplingParams flat = params(1, 0, 1, 0.9f);
  flat.typical_p = 0.5f;
  compare(logits, flat, 12, "without the best");
}

TEST_F(DeviceSampling, PenaltiesBiasesAndMasksAreThoseOfTheWorker) {
  const Floats logits = random_floats(random_, 333, 2.0f);
  Adjusting by;
  for (TokenId token = 0; token < 300; token += 3) {
    by.seen.push_back({token, static_cast<uint32_t>(token % 5)});
  }
  control::SamplingParams all = params(0.7f, 60, 0.95f, 0);
  all.repetition_penalty = 1.3f;
  all.presence_penalty = 0.4f;
  all.frequency_penalty = -0.35f;
  compare(logits, all, 8, "penalties", by);
  by.biases = {{5, 3.5f}, {6, -100.0f}, {332, 2.25f}};
  compare(logits, all, 8, "and biases", by);
  by.allowed = {0x8000'0000'00ff'0021ull, 0, ~0ull};
  compare(logits, all, 8, "and a mask shorter than the vocabulary", by);
  all.temperature = 0;
  compare(logits, all, 2, "greedily", by);
  by.allowed = {0, 1ull << 33};
  compare(logits, all, 2, "one token", by);
}

TEST_F(DeviceSampling, RowsOfOneCallMayWantDifferentThings) {
  const uint32_t vocabulary = 100;
  const Floats logits = random_floats(random_, 3 * vocabulary, 1.0f);
  const float* d_logits = m_.upload(logits);
  const std::vector<uint64_t> nothing = {0};
  std::vector<Draw> rows(3);
  rows[0].row = 2;
  rows[0].temperature = 0;
  rows[1].row = 1;
  rows[1].allowed = nothing;
  rows[2].row = 0;
  rows[2].temperature = 0;
  const std::vector<TokenId> tokens = m_.ops().draw(d_logits, vocabulary, rows);
  const auto best = [&](uint32_t row) {
    const auto begin = logits.begin() + row * vocabulary;
    return static_cast<TokenId>(std::max_element(begin, begin + vocabulary) - begin);
  };
  EXPECT_EQ(tokens, (std::vector<TokenId>{best(2), kNoToken, best(0)}));
}

TEST_F(DeviceSampling, NoRowsAreNoTokens) { EXPECT_TRUE(m_.ops().draw(nullptr, 10, {}).empty()); }

}  // namespace
}  // namespace ebb::kernels::cuda
