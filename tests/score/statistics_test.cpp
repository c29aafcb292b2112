#include "score/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ebb::score {
namespace {

TEST(BatchMeans, OfIndependentValuesIsTheUsualStandardError) {
  // Five values in runs of their own: mean 4, s^2 = 10 / 4, SE = sqrt(2.5 / 5).
  const Estimate found = batch_means({{2}, {3}, {4}, {5}, {6}});
  EXPECT_DOUBLE_EQ(found.mean, 4);
  EXPECT_EQ(found.batches, 5u);
  EXPECT_NEAR(found.standard_error, std::sqrt(0.5), 1e-12);
  EXPECT_NEAR(found.high - found.mean, 2.7764 * std::sqrt(0.5), 1e-9);
  EXPECT_NEAR(found.mean - found.low, 2.7764 * std::sqrt(0.5), 1e-9);
}

TEST(BatchMeans, OfNeighboursThatGoTogetherIsWiderThanOfIndependentOnes) {
  // Nine values, pieces of three: means 1, 2, 6; mean 3, s^2 = (4 + 1 + 9) / 2 = 7, SE^2 = 7 / 3.
  const Estimate found = batch_means({{1, 1, 1, 2, 2, 2, 6, 6, 6}});
  EXPECT_EQ(found.batches, 3u);
  EXPECT_NEAR(found.standard_error, std::sqrt(7.0 / 3), 1e-12);
}

TEST(BatchMeans, PiecesNeverReachOverARunsEnd) {
  // sqrt(6) gives pieces of two: the run of five is cut in two and three, the run of one is a
  // piece.
  const Estimate found = batch_means({{0, 0, 3, 3, 3}, {9}});
  EXPECT_EQ(found.batches, 3u);
  EXPECT_DOUBLE_EQ(found.mean, 3);
  // 3/2 * ((2/6 * -3)^2 + 0 + (1/6 * 6)^2) = 3
  EXPECT_NEAR(found.standard_error, std::sqrt(3.0), 1e-12);
}

TEST(BatchMeans, SaysNothingOfTheErrorOfOneBatch) {
  const Estimate one = batch_means({{5}});
  EXPECT_EQ(one.standard_error, 0);
  EXPECT_EQ(one.batches, 1u);
  EXPECT_EQ(batch_means({}).count, 0u);
}

TEST(BatchMeans, OfEqualDifferencesIsExact) {
  const Estimate none = batch_means({std::vector<double>(100, 0.0)});
  EXPECT_EQ(none.mean, 0);
  EXPECT_NEAR(none.low, 0, 1e-12);
  EXPECT_EQ(none.high, 0);
}

TEST(StudentT, IsThatOfTheTables) {
  EXPECT_NEAR(student_t_975(1), 12.7062, 1e-4);
  EXPECT_NEAR(student_t_975(10), 2.2281, 1e-4);
  EXPECT_NEAR(student_t_975(11), 2.20099, 2e-4);
  EXPECT_NEAR(student_t_975(30), 2.04227, 1e-4);
  EXPECT_NEAR(student_t_975(120), 1.97993, 1e-4);
  EXPECT_NEAR(student_t_975(1000000), 1.95996, 1e-4);
}

TEST(Wilson, IsSensibleAtTheEnds) {
  const Proportion none = wilson(0, 10);
  EXPECT_NEAR(none.low, 0, 1e-12);
  EXPECT_NEAR(none.high, 0.2775, 1e-4);
  const Proportion all = wilson(10, 10);
  EXPECT_NEAR(all.low, 0.7225, 1e-4);
  EXPECT_DOUBLE_EQ(all.high, 1);
  const Proportion half = wilson(5, 10);
  EXPECT_NEAR(half.low, 0.2366, 1e-4);
  EXPECT_NEAR(half.high, 0.7634, 1e-4);
  EXPECT_EQ(wilson(0, 0).high, 1);
}

}  // namespace
}  // namespace ebb::score
