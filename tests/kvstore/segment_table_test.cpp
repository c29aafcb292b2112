// The book-keeping of segments: live bytes are exact, and what was made durable stays so when it
// moves.
#include "kvstore/segment_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

SegmentTable::Entry entry_of(uint64_t number, uint64_t segment, uint64_t bytes = 100) {
  SegmentTable::Entry entry;
  std::memcpy(entry.info.key.digest.bytes.data(), &number, sizeof number);
  entry.segment = segment;
  entry.bytes = bytes;
  return entry;
}

TEST(SegmentTable, ASegmentIsDeadOnlyWhenClosedAndEmpty) {
  SegmentTable table;
  table.insert(entry_of(1, 1));
  table.erase(entry_of(1, 1).info.key);
  EXPECT_FALSE(table.dead());
  table.close(1);
  EXPECT_EQ(table.dead(), 1u);
  table.forget(1);
  EXPECT_FALSE(table.dead());
}

TEST(SegmentTable, TheSparsestClosedSegmentIsNamed) {
  SegmentTable table;
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    for (uint64_t i = 0; i < 10; ++i) table.insert(entry_of(segment * 10 + i, segment));
    if (segment < 3) table.close(segment);
  }
  EXPECT_FALSE(table.sparsest(0.95));
  for (uint64_t i = 0; i < 3; ++i) table.erase(entry_of(10 + i, 1).info.key);
  for (uint64_t i = 0; i < 6; ++i) table.erase(entry_of(20 + i, 2).info.key);
  for (uint64_t i = 0; i < 9; ++i) table.erase(entry_of(30 + i, 3).info.key);  // not closed
  EXPECT_EQ(table.sparsest(0.95), 2u);
  EXPECT_FALSE(table.sparsest(0.3));
}

TEST(SegmentTable, DurabilityMovesAlong) {
  SegmentTable table;
  table.insert(entry_of(1, 1));
  table.insert(entry_of(2, 1));
  table.mark_durable({entry_of(1, 1).info.key});
  table.insert(entry_of(1, 2));
  table.insert(entry_of(2, 2));
  EXPECT_TRUE(table.find(entry_of(1, 1).info.key)->durable);
  EXPECT_FALSE(table.find(entry_of(2, 1).info.key)->durable);
  EXPECT_EQ(table.live_in(1), 0u);
  EXPECT_EQ(table.live_in(2), 200u);
}

TEST(SegmentTable, CountsLikeAPlainMapThroughRandomUse) {
  std::mt19937 random(4);
  SegmentTable table;
  std::map<uint64_t, SegmentTable::Entry> model;
  for (int step = 0; step < 5000; ++step) {
    const uint64_t number = random() % 60;
    const uint64_t segment = 1 + random() % 6;
    switch (random() % 4) {
      case 0:
      case 1:
        model[number] = entry_of(number, segment, 1 + random() % 500);
        table.insert(model[number]);
        break;
      case 2:
        EXPECT_EQ(table.erase(entry_of(number, 0).info.key), model.erase(number) == 1);
        break;
      default:
        if (random() % 10 != 0) break;
        EXPECT_EQ(table.forget(segment).size(), std::erase_if(model, [&](const auto& item) {
                    return item.second.segment == segment;
                  }));
    }
    uint64_t live = 0, live_here = 0;
    for (const auto& [key, entry] : model) {
      live += entry.bytes;
      if (entry.segment == segment) live_here += entry.bytes;
    }
    ASSERT_EQ(table.live_bytes(), live);
    ASSERT_EQ(table.live_in(segment), live_here);
    ASSERT_EQ(table.size(), model.size());
  }
}

}  // namespace
}  // namespace ebb::kvstore
