// Tokens drawn on the device are those that the worker's sampler draws, whatever is asked for.
#include "kernels/cuda/sampling.h"

#include <limits>

#include "tests/kernels/kernels_fixture.h"
#include "worker/sampler.h"

namespace ebb::kernels::cuda {
namespace {

class DeviceSampling : public ::testing::Test {
 protected:
  /// Draws at `draws` positions on both sides.
  void compare(const Floats& logits, const control::SamplingParams& params, uint32_t draws,
               const std::string& what) {
    std::vector<Sampling> samplings;
    Floats rows;
    for (Position p = 0; p < draws; ++p) {
      samplings.push_back({params.temperature, params.top_k, params.top_p, params.min_p,
                           worker::keyed_uniform(params.seed, p)});
      rows.insert(rows.end(), logits.begin(), logits.end());
    }
    const auto vocabulary = static_cast<uint32_t>(logits.size());
    const float* d_logits = m_.upload(rows);
    ASSERT_TRUE(m_.device().synchronize());  // the context has a stream of its own
    const std::vector<TokenId> tokens = sample(*context_, d_logits, vocabulary, samplings);
    worker::Sampler sampler;
    for (Position p = 0; p < draws; ++p) {
      ASSERT_EQ(tokens[p], sampler.sample(logits, params, p)) << what << ", position " << p;
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
  std::shared_ptr<CudaContext> context_ = *CudaContext::make(0);
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

TEST_F(DeviceSampling, NoRowsAreNoTokens) {
  EXPECT_TRUE(sample(*context_, nullptr, 10, {}).empty());
}

}  // namespace
}  // namespace ebb::kernels::cuda
