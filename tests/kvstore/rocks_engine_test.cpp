// RocksDB as the SSD tier uses it: bodies and index go and come together, segments go as a whole.
#include "kvstore/rocks_engine.h"

#include <gtest/gtest.h>

#include <map>

#include "base/units.h"
#include "kvstore/disk_space.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

class RocksEngineTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    engine_.reset();
    auto opened = RocksEngine::open(directory_.path("rocks"), 1 * kMiB);
    ASSERT_OK(opened);
    engine_ = std::move(*opened);
  }
  Result<void> write(uint64_t segment, const Granule& granule) {
    const TierItem item = granule.tier_item();
    return engine_->write(segment, {&item, 1});
  }
  bool has(uint64_t segment, const Granule& granule) {
    bool same = false;
    const auto read =
        engine_->read(segment, granule.info.key, [&](std::span<const std::byte> body) {
          same = std::equal(body.begin(), body.end(), granule.body.begin(), granule.body.end());
        });
    return read && same;
  }
  std::map<GranuleKey, uint64_t> index() {
    std::map<GranuleKey, uint64_t> found;
    EXPECT_TRUE(engine_->scan_index([&](std::optional<GranuleInfo> info, uint64_t segment) {
      EXPECT_TRUE(info.has_value());
      if (info) found[info->key] = segment;
      return true;
    }));
    return found;
  }

  TempDir directory_;
  std::unique_ptr<RocksEngine> engine_;
};

TEST_F(RocksEngineTest, WhatWasNotFlushedIsGoneFromBothPlacesAfterARestart) {
  ASSERT_OK(write(1, make_granule(1)));
  ASSERT_OK(engine_->flush());
  ASSERT_OK(write(1, make_granule(2)));
  EXPECT_TRUE(has(1, make_granule(2)));
  open();
  EXPECT_TRUE(has(1, make_granule(1)));
  // Closing may flush or not; what counts is that index and bodies agree.
  EXPECT_EQ(has(1, make_granule(2)), index().contains(make_granule(2).info.key));
}

TEST_F(RocksEngineTest, ADeletedSegmentGivesItsBlocksBackAtOnce) {
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    for (uint64_t i = 0; i < 20; ++i) ASSERT_OK(write(segment, make_granule(segment * 100 + i)));
    ASSERT_OK(engine_->flush());
    engine_->merge_segment(segment);
    EXPECT_EQ(engine_->files().of(segment).upper_files, 0u);
  }
  const uint64_t before = blocks_in(directory_.path("rocks"));
  const uint64_t bytes = engine_->files().of(2).bytes;
  engine_->delete_segment(2);
  EXPECT_LE(blocks_in(directory_.path("rocks")) + bytes * 9 / 10, before);
  EXPECT_TRUE(has(1, make_granule(100)));
  EXPECT_FALSE(has(2, make_granule(200)));
  EXPECT_TRUE(has(3, make_granule(300)));
}

TEST_F(RocksEngineTest, AScanSeesTheEntriesAndDropsWhatItIsToldTo) {
  for (uint64_t i = 0; i < 10; ++i) ASSERT_OK(write(i % 2 + 1, make_granule(i)));
  EXPECT_EQ(index().size(), 10u);
  engine_->scan_index([](std::optional<GranuleInfo>, uint64_t segment) { return segment != 2; });
  EXPECT_EQ(index().size(), 5u);
  const GranuleKey key = make_granule(0).info.key;
  engine_->forget({&key, 1});
  EXPECT_EQ(index().size(), 4u);
}

TEST_F(RocksEngineTest, ASegmentIsScannedAloneAndStopsWhenToldTo) {
  for (uint64_t i = 0; i < 10; ++i) ASSERT_OK(write(i < 4 ? 7 : 8, make_granule(i)));
  size_t seen = 0;
  const auto count = [&](const GranuleKey&, std::span<const std::byte>) -> Result<void> {
    ++seen;
    return {};
  };
  ASSERT_OK(engine_->scan_segment(7, count));
  EXPECT_EQ(seen, 4u);
  EXPECT_CODE(engine_->scan_segment(
                  8, [](const auto&, auto) -> Result<void> { return cancelled("enough"); }),
              Code::kCancelled);
}

}  // namespace
}  // namespace ebb::kvstore
