// What every tier promises, asked of each of them.
#include <gtest/gtest.h>

#include <map>

#include "base/fault.h"
#include "base/units.h"
#include "kvstore/host_tier.h"
#include "kvstore/ssd_tier.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

class TierConformance : public testing::TestWithParam<TierKind> {
 protected:
  void SetUp() override {
    if (GetParam() == TierKind::kHost) {
      auto made = HostTier::make(8 * kMiB);
      ASSERT_OK(made);
      tier_ = std::move(*made);
    } else {
      auto made = SsdTier::open(directory_.path("ssd"), {8 * kMiB, 0});
      ASSERT_OK(made);
      tier_ = std::move(*made);
    }
  }
  Result<void> put(const Granule& granule) {
    const TierItem item = granule.tier_item();
    return tier_->put({&item, 1});
  }
  Result<ReadOutcome> read(const GetItem& item) {
    out_.assign(item.asked_bytes(), std::byte{0});
    return tier_->read(item, out_);
  }

  TempDir directory_;
  std::unique_ptr<Tier> tier_;
  std::vector<std::byte> out_;
};

TEST_P(TierConformance, GivesBackTheSameBytes) {
  const Granule granule = make_granule(1);
  ASSERT_OK(put(granule));
  const auto outcome = read(ask(granule));
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->present, 0xffffu);
  EXPECT_EQ(outcome->corrupt, 0u);
  EXPECT_EQ(out_, granule.body);
}

TEST_P(TierConformance, GivesOnlyTheRecordsThatAreAskedFor) {
  const Granule granule = make_granule(2);
  ASSERT_OK(put(granule));
  for (uint32_t bitmap : {0x1u, 0x8000u, 0x8421u, 0x7ffeu, 0x0u}) {
    const auto outcome = read(ask(granule, bitmap));
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->present, bitmap);
    EXPECT_EQ(out_, frames_of(granule, bitmap));
  }
}

TEST_P(TierConformance, RecordsBeyondTheGranuleAreMissing) {
  const Granule granule = make_granule(3, {.records = 5, .payload_bytes = 640});
  ASSERT_OK(put(granule));
  GetItem item = ask(granule);
  item.bitmap = 0xf3;
  const auto outcome = read(item);
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->present, 0x13u);
  const auto there = frames_of(granule, 0x13);
  EXPECT_TRUE(std::equal(there.begin(), there.end(), out_.begin()));
}

TEST_P(TierConformance, AnotherShapeIsNotFound) {
  const Granule granule = make_granule(4);
  ASSERT_OK(put(granule));
  GetItem item = ask(granule);
  item.first += 1;
  EXPECT_CODE(read(item), Code::kNotFound);
  item = ask(granule);
  item.payload_bytes -= 8;
  EXPECT_CODE(read(item), Code::kNotFound);
}

TEST_P(TierConformance, RemovedIsNotFound) {
  const Granule granule = make_granule(5), other = make_granule(6);
  ASSERT_OK(put(granule));
  ASSERT_OK(put(other));
  tier_->remove({&granule.info.key, 1});
  EXPECT_FALSE(tier_->contains(granule.info.key));
  EXPECT_CODE(read(ask(granule)), Code::kNotFound);
  ASSERT_OK(read(ask(other)));
  EXPECT_EQ(tier_->usage().granules, 1u);
  tier_->remove({&granule.info.key, 1});  // no effect
  EXPECT_EQ(tier_->usage().granules, 1u);
}

TEST_P(TierConformance, PutAgainChangesNothing) {
  const Granule granule = make_granule(7);
  ASSERT_OK(put(granule));
  const uint64_t used = tier_->usage().used_bytes;
  ASSERT_OK(put(granule));
  EXPECT_EQ(tier_->usage().used_bytes, used);
  EXPECT_EQ(tier_->usage().granules, 1u);
}

TEST_P(TierConformance, ChargesAreWhatUsageCounts) {
  uint64_t expected = 0;
  for (uint64_t i = 0; i < 10; ++i) {
    const Granule granule =
        make_granule(i, {.records = 8, .payload_bytes = static_cast<uint32_t>(256 + 96 * i)});
    ASSERT_OK(put(granule));
    expected += tier_->charge(granule.body.size());
  }
  EXPECT_EQ(tier_->usage().used_bytes, expected);
}

TEST_P(TierConformance, FullIsAnErrorAndWhatWasThereStays) {
  std::vector<uint64_t> there;
  Result<void> last;
  for (uint64_t i = 0; i < 1000 && last; ++i) {
    last = put(make_granule(i));
    if (last) there.push_back(i);
  }
  EXPECT_CODE(last, Code::kExhausted);
  EXPECT_LE(tier_->usage().used_bytes, tier_->usage().capacity_bytes);
  for (uint64_t i : there) {
    const Granule granule = make_granule(i);
    ASSERT_OK(read(ask(granule)));
    EXPECT_EQ(out_, granule.body);
  }
  // Room that is given back can be used again.
  for (uint64_t i : there) {
    const GranuleKey key = make_granule(i).info.key;
    tier_->remove({&key, 1});
  }
  EXPECT_EQ(tier_->usage().used_bytes, 0u);
  ASSERT_OK(put(make_granule(5000)));
}

TEST_P(TierConformance, ABatchThatDoesNotFitLeavesNothing) {
  std::vector<Granule> granules;
  std::vector<TierItem> items;
  for (uint64_t i = 0; i < 400; ++i) granules.push_back(make_granule(i));
  for (const Granule& granule : granules) items.push_back(granule.tier_item());
  EXPECT_CODE(tier_->put(items), Code::kExhausted);
  EXPECT_EQ(tier_->usage().granules, 0u);
  EXPECT_EQ(tier_->usage().used_bytes, 0u);
}

TEST_P(TierConformance, ABodyThatNeverFitsIsRefusedWithTheLimit) {
  const auto refused = put(make_granule(1, {.records = 32, .payload_bytes = 256 << 10}));
  EXPECT_CODE(refused, Code::kInvalid);
}

TEST_P(TierConformance, KeepsItsPromiseThroughRandomUse) {
  std::mt19937 random(7);
  std::map<uint64_t, Granule> model;
  for (int step = 0; step < 1500; ++step) {
    const uint64_t number = random() % 120;
    const Shape shape{.records = static_cast<uint16_t>(1 + number % 32),
                      .payload_bytes = static_cast<uint32_t>(64 + 8 * (number * 37 % 400))};
    const Granule granule = make_granule(number, shape);
    switch (random() % 3) {
      case 0:
        if (const auto stored = put(granule)) model.emplace(number, granule);
        break;
      case 1:
        tier_->remove({&granule.info.key, 1});
        model.erase(number);
        break;
      default: {
        const uint32_t bitmap = random();
        const auto outcome = read(ask(granule, bitmap));
        ASSERT_EQ(outcome.has_value(), model.contains(number));
        if (outcome) {
          ASSERT_EQ(out_, frames_of(granule, bitmap));
        }
      }
    }
    const TierUsage usage = tier_->usage();
    ASSERT_EQ(usage.granules, model.size());
    ASSERT_LE(usage.used_bytes, usage.capacity_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, TierConformance, testing::Values(TierKind::kHost, TierKind::kSsd),
                         [](const auto& tested) { return tier_name(tested.param); });

TEST(HostTier, AFlippedByteInMemoryIsNotDelivered) {
  auto tier = HostTier::make(1 * kMiB);
  ASSERT_OK(tier);
  const Granule granule = make_granule(1, {.records = 4, .payload_bytes = 1024});
  const TierItem item = granule.tier_item();
  ASSERT_TRUE(arm_fault("kvstore.host.flip") || true);  // the point registers on its first pass
  ASSERT_OK((*tier)->put({&item, 1}));
  (*tier)->remove({&granule.info.key, 1});
  ASSERT_TRUE(arm_fault("kvstore.host.flip"));
  ASSERT_OK((*tier)->put({&item, 1}));
  std::vector<std::byte> out(granule.body.size());
  const auto outcome = (*tier)->read(ask(granule), out);
  disarm_all_faults();
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->corrupt, 1u);
  EXPECT_EQ(outcome->present, 0xbu);  // the byte in the middle belongs to record 2
}

}  // namespace
}  // namespace ebb::kvstore
