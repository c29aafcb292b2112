#include "worker/residency.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace ebb::worker {
namespace {

BandResidency filled(uint32_t length) {
  BandResidency band;
  for (Position p = 0; p < length; ++p) EXPECT_TRUE(band.place(p, 1));
  return band;
}

std::vector<Position> range(Position begin, Position end) {
  std::vector<Position> out;
  for (Position p = begin; p < end; ++p) out.push_back(p);
  return out;
}

TEST(BandResidency, KeepsPositionAsSlotUntilItIsReleased) {
  BandResidency band = filled(40);
  EXPECT_FALSE(band.hot());
  EXPECT_EQ(band.slot(39), 39u);
  EXPECT_EQ(band.slot(40), kNoSlot);
  EXPECT_TRUE(band.touch(range(0, 40), 2).empty());
}

TEST(BandResidency, ShrinkKeepsExactlyWhatItIsToldAndMovesRowsInward) {
  BandResidency band = filled(64);
  band.set_sealed_to(64);
  const std::vector<Position> keep = {0, 1, 5, 40, 63};
  const auto moves = band.shrink(16, keep, 2);
  EXPECT_TRUE(band.hot());
  std::set<uint32_t> slots;
  for (Position p : keep) {
    ASSERT_NE(band.slot(p), kNoSlot) << p;
    EXPECT_LT(band.slot(p), 16u);
    slots.insert(band.slot(p));
  }
  EXPECT_EQ(slots.size(), keep.size());
  EXPECT_EQ(band.slot(2), kNoSlot);
  ASSERT_EQ(moves.size(), 2u);
  for (const auto& move : moves) {
    EXPECT_GE(move.from, 16u);
    EXPECT_EQ(band.slot(move.from), move.to);
  }
}

TEST(BandResidency, ACopyOfTheMapIsToldWhatItLacks) {
  BandResidency band = filled(64);
  EXPECT_FALSE(band.has_map());
  band.set_sealed_to(64);
  (void)band.shrink(16, range(0, 16), 2);
  ASSERT_TRUE(band.has_map());
  EXPECT_FALSE(band.take_given()) << "the first copy is of all";
  EXPECT_TRUE(band.take_given()->empty());
  ASSERT_TRUE(band.admit(std::vector<Position>{50, 30}, 4));
  band.forget(std::vector<Position>{30});
  ASSERT_TRUE(band.admit(std::vector<Position>{30}, 4));
  ASSERT_TRUE(band.place(64, 5));
  EXPECT_EQ(*band.take_given(), (std::vector<Position>{30, 50, 64}));
  EXPECT_EQ(band.map()[64], band.slot(64));
  EXPECT_TRUE(band.take_given()->empty());
}

TEST(BandResidency, EvictsTheLeastRecentlySelectedAndLowerPositionsFirst) {
  BandResidency band = filled(64);
  band.set_sealed_to(64);
  (void)band.shrink(16, range(0, 16), 2);
  EXPECT_EQ(band.touch(range(4, 16), 3).size(), 0u);
  const auto missing = band.touch(std::vector<Position>{30, 31}, 4);
  ASSERT_EQ(missing, (std::vector<Position>{30, 31}));
  ASSERT_TRUE(band.admit(missing, 4));
  EXPECT_EQ(band.slot(0), kNoSlot);
  EXPECT_EQ(band.slot(1), kNoSlot);
  EXPECT_NE(band.slot(2), kNoSlot);
}

TEST(BandResidency, NeverEvictsWhatTheStepUsesOrTheStoreHasNotGot) {
  BandResidency band = filled(32);
  band.set_sealed_to(24);
  (void)band.shrink(16, range(16, 32), 2);
  band.touch(range(16, 20), 5);              // in use by step 5
  EXPECT_FALSE(band.admit(range(0, 5), 5));  // only 20..23 may give way
  EXPECT_TRUE(band.admit(range(0, 4), 5));
  for (Position p = 16; p < 20; ++p) EXPECT_NE(band.slot(p), kNoSlot);
  for (Position p = 24; p < 32; ++p) EXPECT_NE(band.slot(p), kNoSlot);
  EXPECT_FALSE(band.place(32, 5)) << "every slot is pinned or in use";
}

TEST(BandResidency, AReplayedStepGetsTheSameSlot) {
  BandResidency band = filled(32);
  band.set_sealed_to(32);
  (void)band.shrink(16, range(20, 32), 2);
  const auto first = band.place(32, 3);
  ASSERT_TRUE(first);
  const auto again = band.place(32, 4);
  ASSERT_TRUE(again);
  EXPECT_EQ(*first, *again);
}

TEST(BandResidency, APoolOfChosenRowsLosesWhatItIsToldAndNothingElse) {
  BandResidency band = filled(64);
  const std::vector<Position> keep = {1, 5, 40, 63};
  const auto moves = band.choose(8, keep, 2);
  EXPECT_TRUE(band.chosen());
  EXPECT_FALSE(band.hot()) << "no store has its rows";
  EXPECT_EQ(moves.size(), 2u);
  for (Position p = 0; p < 64; ++p) {
    const bool kept = std::binary_search(keep.begin(), keep.end(), p);
    EXPECT_EQ(band.slot(p) != kNoSlot, kept) << p;
  }
  ASSERT_TRUE(band.place(64, 3));
  EXPECT_EQ(band.touch(std::vector<Position>{1, 7, 64}, 3), (std::vector<Position>{7}));
  ASSERT_TRUE(band.admit(std::vector<Position>{7, 8, 9}, 3));
  EXPECT_FALSE(band.place(65, 9)) << "however old the others are";
  EXPECT_FALSE(band.admit(std::vector<Position>{10}, 9));
  EXPECT_EQ(band.forget_others(std::vector<Position>{5, 7, 64}), 5u);
  EXPECT_EQ(band.slot(63), kNoSlot);
  EXPECT_NE(band.slot(64), kNoSlot);
  EXPECT_TRUE(band.place(65, 9));
}

TEST(BandResidency, AgreesWithASimpleModelUnderRandomUse) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const uint32_t length0 = 64 + random() % 200;
    BandResidency band = filled(length0);
    band.set_sealed_to(length0 / 16 * 16);
    const uint32_t capacity = 48;
    (void)band.shrink(capacity, range(length0 / 16 * 16, length0), 1);
    Position length = length0;
    for (uint64_t step = 2; step < 60; ++step) {
      if (auto slot = band.place(length, step)) ++length;
      if (length % 16 == 0) band.set_sealed_to(length);
      std::set<Position> wanted = {length - 1};
      while (wanted.size() < 20) wanted.insert(random() % length);
      const std::vector<Position> set(wanted.begin(), wanted.end());
      const auto missing = band.touch(set, step);
      if (!band.admit(missing, step)) continue;
      std::set<uint32_t> slots;
      for (Position p : set) {
        ASSERT_NE(band.slot(p), kNoSlot);
        slots.insert(band.slot(p));
      }
      ASSERT_EQ(slots.size(), set.size());
      for (Position p = band.sealed_to(); p < length; ++p) ASSERT_NE(band.slot(p), kNoSlot);
    }
  }
}

}  // namespace
}  // namespace ebb::worker
