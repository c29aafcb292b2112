// A small random model that calibration looks into, and the double reference beside it. Its weights
// are F32, so K and V are not rounded, and neither are the reference's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "score/calibrate_error.h"
#include "score/calibrate_judge.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/reference_model.h"

namespace ebb::score {

using worker::testing::KvRounding;
using worker::testing::LayerScores;
using worker::testing::ReferenceModel;

class CalibrateFixture : public ::testing::Test {
 protected:
  using Lists = std::vector<std::vector<Position>>;
  static constexpr uint32_t kLayers = 5;
  static constexpr uint32_t kContext = 90;
  static constexpr uint32_t kSteps = 7;

  void SetUp() override {
    options_.layers = kLayers;
    path_ = dir_.path("tiny.gguf");
    ebb::testing::write_tiny_llama(path_, options_);
    auto model = CalibrateModel::open(path_, 1);
    ASSERT_TRUE(model) << model.error().text();
    model_ = *std::move(model);
    ASSERT_TRUE(model_->reserve(8, 128, /*with_aids=*/true));
  }

  static std::vector<TokenId> tokens(uint64_t seed) {
    ebb::testing::TinyRandom random(seed);
    std::vector<TokenId> ids;
    for (uint32_t i = 0; i < kContext + kSteps + 1; ++i)
      ids.push_back(static_cast<TokenId>(3 + random.next() % 256));
    return ids;
  }
  std::unique_ptr<worker::Sequence> prefilled(uint64_t seed) {
    auto text = model_->prefill(tokens(seed), kContext);
    EBB_CHECK(text.has_value());
    return *std::move(text);
  }
  ReferenceModel reference(uint64_t seed) {
    auto files = models::ModelFiles::open(path_);
    EBB_CHECK(files.has_value());
    ReferenceModel model(**files, KvRounding::kNone);
    for (uint32_t i = 0; i < kContext; ++i) model.step(tokens(seed)[i], ReferenceModel::all);
    return model;
  }
  /// The set of an anchor: sinks, window, and the best by the maximum probability over heads.
  static std::vector<Position> set_of(const LayerScores& of, const SetSize& size) {
    const auto length = static_cast<uint32_t>(of.logits[0].size());
    std::vector<Position> set(length);
    std::iota(set.begin(), set.end(), 0u);
    if (size.budget >= length) return set;
    std::vector<double> best(length);
    for (const auto& head : of.logits) {
      const auto p = worker::testing::softmax(head);
      for (uint32_t i = 0; i < length; ++i) best[i] = std::max(best[i], p[i]);
    }
    for (uint32_t i = 0; i < length; ++i)
      if (i < size.sinks || i >= length - size.window) best[i] = 2;
    std::stable_sort(set.begin(), set.end(), [&](auto a, auto b) { return best[a] > best[b]; });
    set.resize(size.budget);
    std::sort(set.begin(), set.end());
    return set;
  }
  static Lists for_all_heads(const LayerScores& of, const std::vector<Position>& set) {
    return Lists(of.logits.size(), set);
  }

  ebb::test::TempDir dir_;
  ebb::testing::TinyLlamaOptions options_;
  std::string path_;
  std::unique_ptr<CalibrateModel> model_;
};

}  // namespace ebb::score
