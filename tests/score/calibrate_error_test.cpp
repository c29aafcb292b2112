// The matrix of output errors against the same written from its equation, in double.
#include "score/calibrate_error.h"

#include "tests/score/calibrate_fixture.h"

namespace ebb::score {
namespace {

class OutputErrorTest : public CalibrateFixture {
 protected:
  OutputErrors measure(uint64_t seed, std::vector<SetSize> sizes, uint32_t every = 1) {
    const auto text = prefilled(seed);
    ErrorOptions options;
    options.sizes = std::move(sizes);
    options.every = every;
    auto errors = measure_output_errors(*model_, *text, options);
    EXPECT_TRUE(errors) << errors.error().text();
    return errors ? *std::move(errors) : OutputErrors{};
  }
  ErrorMatrix expected(uint64_t seed, const SetSize& size, uint32_t every = 1) {
    ReferenceModel model = reference(seed);
    ErrorMatrix sum(kLayers);
    for (uint32_t l = 0; l < kLayers; ++l) sum[l].resize(l + 1);
    uint32_t measured = 0;
    for (uint32_t step = 0; step < kSteps; ++step) {
      std::vector<std::vector<Position>> sets;
      const bool counts = step % every == 0;
      measured += counts ? 1 : 0;
      model.step(tokens(seed)[kContext + step], [&](const LayerScores& of) {
        sets.push_back(set_of(of, size));
        const auto dense = model.attention_output(of, ReferenceModel::all(of));
        double scale = 0;
        for (const double x : of.residual) scale += x * x;
        for (uint32_t s = 0; counts && s <= of.layer; ++s) {
          const auto sparse = model.attention_output(of, for_all_heads(of, sets[s]));
          double error = 0;
          for (size_t i = 0; i < dense.size(); ++i)
            error += (sparse[i] - dense[i]) * (sparse[i] - dense[i]);
          sum[of.layer][s] += error / scale;
        }
        return ReferenceModel::all(of);
      });
    }
    for (auto& row : sum)
      for (double& e : row) e /= measured;
    return sum;
  }
};

TEST_F(OutputErrorTest, EqualsTheEquationInDouble) {
  const SetSize sizes[] = {{16, 2, 6}, {40, 4, 8}};
  const OutputErrors errors = measure(1, {sizes[0], sizes[1]});
  EXPECT_EQ(errors.steps, kSteps);
  for (size_t i = 0; i < 2; ++i) {
    const ErrorMatrix want = expected(1, sizes[i]);
    ASSERT_EQ(errors.mean[i].size(), kLayers);
    for (uint32_t l = 0; l < kLayers; ++l) {
      ASSERT_EQ(errors.mean[i][l].size(), l + 1);
      for (uint32_t s = 0; s <= l; ++s) {
        EXPECT_GT(want[l][s], 1e-8) << "nothing to compare";
        EXPECT_NEAR(errors.mean[i][l][s] / want[l][s], 1, 2e-3)
            << "size " << i << ", layer " << l << " from " << s;
      }
    }
  }
}

TEST_F(OutputErrorTest, IsZeroWhereTheSetIsEverything) {
  const OutputErrors errors = measure(2, {{kContext + kSteps, 4, 8}});
  for (const auto& row : errors.mean.at(0))
    for (const double e : row) EXPECT_EQ(e, 0);
}

TEST_F(OutputErrorTest, StepsThatAreNotMeasuredAreStillTaken) {
  const SetSize size{24, 2, 6};
  const OutputErrors errors = measure(3, {size}, 3);
  EXPECT_EQ(errors.steps, 3u);
  const ErrorMatrix want = expected(3, size, 3);
  for (uint32_t l = 0; l < kLayers; ++l)
    for (uint32_t s = 0; s <= l; ++s)
      EXPECT_NEAR(errors.mean.at(0)[l][s] / want[l][s], 1, 2e-3) << l << " from " << s;
}

TEST_F(OutputErrorTest, IsTheSameWhenMeasuredAgain) {
  const SetSize size{24, 2, 6};
  EXPECT_EQ(measure(4, {size}).mean, measure(4, {size}).mean);
}

TEST_F(OutputErrorTest, ABiasOfTheOutputIsNoPartOfADifference) {
  options_.attention_out_bias = true;
  ebb::testing::write_tiny_llama(path_, options_);
  auto model = CalibrateModel::open(path_, 1);
  ASSERT_TRUE(model) << model.error().text();
  ASSERT_TRUE((*model)->shape().attention_out_bias);
  model_ = *std::move(model);
  ASSERT_TRUE(model_->reserve(2, 128));
  const OutputErrors errors = measure(5, {{kContext + kSteps, 4, 8}});
  for (const auto& row : errors.mean.at(0))
    for (const double e : row) EXPECT_EQ(e, 0);
}

TEST_F(OutputErrorTest, EndsWhenItIsToldTo) {
  const auto text = prefilled(1);
  ErrorOptions options;
  options.sizes = {{24, 2, 6}};
  int steps = 0;
  options.between_steps = [&]() -> Result<void> {
    if (++steps > 3) return cancelled("enough");
    return {};
  };
  const auto errors = measure_output_errors(*model_, *text, options);
  ASSERT_FALSE(errors);
  EXPECT_EQ(errors.error().code, Code::kCancelled);
}

}  // namespace
}  // namespace ebb::score
