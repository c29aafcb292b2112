#include "score/lru.h"

#include <gtest/gtest.h>

namespace ebb::score {
namespace {

TEST(Lru, TheLeastRecentRowGivesWay) {
  LruBuffer buffer(2);
  EXPECT_FALSE(buffer.touch(1));
  EXPECT_FALSE(buffer.touch(2));
  EXPECT_TRUE(buffer.touch(1));
  EXPECT_FALSE(buffer.touch(3));
  EXPECT_FALSE(buffer.contains(2));
  EXPECT_TRUE(buffer.contains(1));
  EXPECT_EQ(buffer.size(), 2u);
}

TEST(Lru, HitsAreCountedFromTheSecondStep) {
  const HitCount count = simulate_lru({{1, 2, 3}, {1, 2, 4}, {1, 3, 4}}, 4, 100);
  EXPECT_EQ(count.steps, 2u);
  EXPECT_EQ(count.reads, 6u);
  EXPECT_EQ(count.hits, 5u) << "only 4 was missing, once";
}

TEST(Lru, ASmallBufferForgetsBetweenSteps) {
  // Three rows in turn through a buffer of two: the row that is due was the one that gave way.
  const HitCount count = simulate_lru({{1}, {2}, {3}, {1}, {2}, {3}}, 2, 100);
  EXPECT_EQ(count.reads, 5u);
  EXPECT_EQ(count.hits, 0u);
  EXPECT_EQ(simulate_lru({{1}, {2}, {3}, {1}, {2}, {3}}, 3, 100).hits, 3u);
}

TEST(Lru, ARowMadeByDecodingIsNotFetchedWhenItIsNew) {
  const HitCount count = simulate_lru({{1, 10}, {1, 10, 11}, {10, 11, 12}}, 8, 10);
  EXPECT_EQ(count.reads, 4u) << "1 and 10, then 10 and 11";
  EXPECT_EQ(count.hits, 4u);
}

TEST(Lru, AStepFindsWhatIsThereBeforeItFetches) {
  // Fetching 3 first would push out 1.
  EXPECT_EQ(simulate_lru({{1, 2}, {3, 1}}, 2, 100).hits, 1u);
}

}  // namespace
}  // namespace ebb::score
