// The best k of several rows at once, each of its own length, against a sort.
#include "kernels/cuda/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/kernels/device_array.h"

namespace ebb::kernels::cuda {
namespace {

using Floats = std::vector<float>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Scored> sorted(const Floats& scores, uint32_t begin, uint32_t end, uint32_t k) {
  std::vector<Scored> all;
  for (uint32_t i = begin; i < end; ++i) all.push_back({i, scores[i]});
  std::sort(all.begin(), all.end(), [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.position < b.position;
  });
  all.resize(std::min<size_t>(all.size(), k));
  return all;
}

class TopKBatch : public ::testing::Test {
 protected:
  struct Case {
    Floats scores;
    uint32_t begin, end, k;
  };
  static Case whole(Floats scores, uint32_t k) {
    const auto end = static_cast<uint32_t>(scores.size());
    return {std::move(scores), 0, end, k};
  }

  Floats random_scores(size_t count) {
    std::exponential_distribution<float> draw(10);
    Floats scores(count);
    for (float& score : scores) score = std::exp(-draw(random_));
    return scores;
  }

  void run(const std::vector<Case>& cases, uint32_t slack = 0) {
    std::vector<DeviceArray<float>> scores;
    std::vector<DeviceArray<Scored>> outs;
    std::vector<TopKRow> rows;
    TopKRows call;
    for (const Case& c : cases) {
      const uint32_t length = c.end - c.begin;
      const float* d_scores = scores.emplace_back(c.scores).data();
      Scored* d_out = outs.emplace_back(std::min(length, c.k) + 1).data();
      rows.push_back({d_scores, c.begin, c.end, c.k, d_out});
      call.length_max = std::max(call.length_max, length + slack);
      call.k_max = std::max(call.k_max, c.k);
    }
    const DeviceArray<TopKRow> d_rows(rows);
    call.d_rows = d_rows.data();
    call.rows = static_cast<uint32_t>(rows.size());
    top_k_rows(*context_, call);
    for (size_t i = 0; i < cases.size(); ++i) check(cases[i], outs[i].values(), i);
    EXPECT_FALSE(context_->failed());
  }

  /// Launches may be sized for more than there is; so sized, short rows take the way of long ones.
  void run_short_and_long(const std::vector<Case>& cases) {
    run(cases);
    run(cases, 20000);
  }

  static void check(const Case& c, const std::vector<Scored>& got, size_t row) {
    const std::vector<Scored> expected = sorted(c.scores, c.begin, c.end, c.k);
    ASSERT_EQ(got.size(), expected.size() + 1);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(got[i].position, expected[i].position) << "row " << row << ", place " << i;
      ASSERT_EQ(got[i].score, expected[i].score) << "row " << row << ", place " << i;
    }
    ASSERT_EQ(got.back().position, 0xffffffffu) << "row " << row << " wrote behind its end";
  }

  std::mt19937_64 random_{3};
  std::shared_ptr<CudaContext> context_ = std::move(*CudaContext::make(0));
};

TEST_F(TopKBatch, RowsOfDifferentLengthsInOneCall) {
  std::vector<Case> cases;
  for (const uint32_t length : {0u, 1u, 255u, 256u, 257u, 5000u, 16384u}) {
    for (const uint32_t k : {0u, 1u, 33u, 700u}) {
      cases.push_back(whole(random_scores(length), k));
    }
  }
  run(cases);
  run_short_and_long(cases);
}

TEST_F(TopKBatch, OnlyEntriesBetweenBeginAndEndCount) {
  Floats scores = random_scores(3000);
  scores[9] = scores[2500] = 100;  // just outside
  run_short_and_long(
      {{scores, 10, 2500, 60}, {scores, 10, 10, 5}, {scores, 2999, 3000, 5}, {scores, 0, 3000, 2}});
}

TEST_F(TopKBatch, TiesGoToTheLowerPosition) {
  Floats few(6000);
  for (float& score : few) score = static_cast<float>(random_() % 3);
  run_short_and_long({whole(Floats(4000, 0.5f), 100), whole(Floats(4000, 0.0f), 4000),
                      whole(few, 100), whole(few, 2500),
                      whole({0.0f, -0.0f, 0.0f, -0.0f, 1.0f}, 3)});
}

TEST_F(TopKBatch, InfinitiesNegativesAndDenormals) {
  Floats hostile(5000);
  const float values[] = {-kInfinity, kInfinity, 1e-44f, -1e-44f, 3e38f, -3e38f, 0.0f, 1e-38f};
  for (float& score : hostile) score = values[random_() % 8];
  Floats tiny(3000);
  for (size_t i = 0; i < tiny.size(); ++i) tiny[i] = 1e-45f * static_cast<float>(random_() % 2000);
  run_short_and_long({whole(hostile, 10), whole(hostile, 2600), whole(Floats(1000, -kInfinity), 7),
                      whole(tiny, 500)});
}

TEST_F(TopKBatch, AMillionEntries) {
  Floats scores = random_scores(1u << 20);
  for (size_t i = 0; i < scores.size(); i += 3) scores[i] = 0.5f;  // many ties near the middle
  run({whole(scores, 2048), {scores, 1000000, 1000100, 2048}});
}

TEST_F(TopKBatch, NoRows) {
  top_k_rows(*context_, {});
  EXPECT_FALSE(context_->failed());
}

}  // namespace
}  // namespace ebb::kernels::cuda
