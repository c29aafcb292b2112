#include "score/fetches.h"

#include <gtest/gtest.h>

namespace ebb::score {
namespace {

TEST(Fetches, SetsOfSingleHeadsBecomeTheirUnion) {
  const auto sets = sets_by_layer({{{2, {5, 9}}, {7, {1, 3}}, {7, {2, 3}}}, {}, {{7, {4}}}});
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets.at(2), (std::vector<std::vector<uint32_t>>{{5, 9}}));
  EXPECT_EQ(sets.at(7), (std::vector<std::vector<uint32_t>>{{1, 2, 3}, {4}}));
}

TEST(Fetches, CountsRowsMissingForEachSelectingLayerAndStep) {
  // 16 tokens: buffers of 2, 4 and 8 rows. Layer 3 goes round 4 rows, two at a time.
  Trace trace;
  for (uint32_t step = 0; step < 5; ++step) {
    trace.push_back(
        {{3, step % 2 == 0 ? std::vector<uint32_t>{0, 1} : std::vector<uint32_t>{2, 3}}});
  }
  const auto fetched = count_fetches(trace, 16);
  EXPECT_EQ(fetched[0].rows, 8u) << "two rows never find the other two";
  EXPECT_EQ(fetched[1].rows, 2u) << "only the first time";
  EXPECT_EQ(fetched[2].rows, 2u);
  EXPECT_EQ(fetched[0].places, 4u) << "the first step fills";
  EXPECT_DOUBLE_EQ(fetched[0].per_place(), 2.0);
}

TEST(Fetches, BuffersAreDealtAsTheSetsAre) {
  // Layer 1 reads 6 rows, layer 2 reads 2: of 2 x 4 rows one has 6, the other 2.
  Trace trace;
  for (uint32_t step = 0; step < 3; ++step) trace.push_back({{1, {0, 1, 2, 3, 4, 5}}, {2, {6, 7}}});
  EXPECT_EQ(count_fetches(trace, 16)[1].rows, 0u) << "both hold their sets";
  for (auto& step : trace) step[1].positions = {6, 7, 8, 9, 10, 11};
  EXPECT_EQ(count_fetches(trace, 16)[1].rows, 8u) << "of 4 rows each, two are missing each time";
}

TEST(Fetches, StepsThatKeepTheirSetFetchNothingAndCount) {
  const auto fetched = count_fetches({{{3, {0, 1}}}, {}, {{3, {0, 2}}}, {}, {}}, 16);
  EXPECT_EQ(fetched[0].rows, 1u);
  EXPECT_EQ(fetched[0].places, 4u);
}

TEST(Fetches, ARowMadeWhileDecodingIsOnTheDeviceAtFirst) {
  const auto fetched = count_fetches({{{3, {0}}}, {{3, {0, 16}}}, {{3, {0, 17}}}}, 16);
  EXPECT_EQ(fetched[0].rows, 0u);
}

}  // namespace
}  // namespace ebb::score
