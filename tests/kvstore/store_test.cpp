// The store behind its interface, with real tiers: what is accepted comes back bit-equal or is a
// miss, held granules stay, memory and disk keep their bounds.
#include "kvstore/store.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>
#include <set>

#include "base/fault.h"
#include "base/units.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

constexpr Holder kAlice{1, SeqId{1}};
constexpr Holder kBob{1, SeqId{2}};

class StoreTest : public testing::Test {
 protected:
  void open(uint64_t host_bytes, uint64_t ssd_bytes) {
    store_.reset();
    StoreOptions options;
    options.host_bytes = host_bytes;
    options.ssd.quota_bytes = ssd_bytes;
    options.ssd_path = directory_.path("ssd");
    auto opened = Store::open(options, metrics_);
    ASSERT_OK(opened);
    store_ = std::move(*opened);
  }
  Result<PutReply> put(const Holder& holder, const std::vector<Granule>& granules,
                       Millis within = Millis(10000)) {
    std::vector<PutItem> items;
    for (const Granule& granule : granules) items.push_back(granule.put_item());
    return wait_for<PutReply>(
        [&](auto done) { store_->put(holder, items, nullptr, Deadline::after(within), done); });
  }
  Result<Gathered> get(std::vector<GetItem> items) {
    return wait_for<Gathered>(
        [&](auto done) { store_->get(std::move(items), Deadline::after(Millis(10000)), done); });
  }
  Result<void> drop(const Holder& holder) {
    return wait_for<void>([&](auto done) { store_->drop(holder, done); });
  }
  Result<void> flush(Millis within = Millis(20000)) {
    return wait_for<void>([&](auto done) { store_->flush(Deadline::after(within), done); });
  }
  StatItem stat(const Granule& granule) {
    auto items =
        wait_for<std::vector<StatItem>>([&](auto done) { store_->stat({granule.info.key}, done); });
    return items->front();
  }
  /// Present with right bytes: true; a miss: false; anything else fails the test.
  bool has(const Granule& granule, TierKind* from = nullptr) {
    auto got = get({ask(granule)});
    EXPECT_TRUE(got.has_value());
    const GotItem item = got->reply.items.front();
    if (from != nullptr) *from = item.from;
    std::vector<std::byte> bytes;
    for (const auto part : got->frames) bytes.insert(bytes.end(), part.begin(), part.end());
    EXPECT_EQ(bytes, frames_of(granule, item.present));
    return item.present == whole(granule.info).bitmap;
  }

  TempDir directory_;
  Metrics metrics_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, GathersRecordsOfManyGranulesIntoOneAnswer) {
  open(8 * kMiB, 0);
  const std::vector<Granule> granules{
      make_granule(1), make_granule(2, {.records = 7, .payload_bytes = 640}), make_granule(3)};
  const auto reply = put(kAlice, granules);
  ASSERT_OK(reply);
  EXPECT_EQ(reply->accepted, 3u);
  EXPECT_EQ(reply->already_there, 0u);
  auto got = get(
      {ask(granules[0], 0x8001), ask(make_granule(99)), ask(granules[1], 0x12), ask(granules[2])});
  ASSERT_OK(got);
  EXPECT_EQ(got->reply.items[0].present, 0x8001u);
  EXPECT_EQ(got->reply.items[1].present, 0u);
  EXPECT_EQ(got->reply.items[1].from, TierKind::kNone);
  EXPECT_EQ(got->reply.items[2].present, 0x12u);
  EXPECT_EQ(got->reply.items[3].present, 0xffffu);
  std::vector<std::byte> bytes, expected;
  for (const auto part : got->frames) bytes.insert(bytes.end(), part.begin(), part.end());
  for (const auto& part :
       {frames_of(granules[0], 0x8001), frames_of(granules[1], 0x12), granules[2].body}) {
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_EQ(bytes, expected);
  EXPECT_LE(got->frames.size(), 2u);  // neighbours are one part
}

TEST_F(StoreTest, FirstWriterWinsAndBothHold) {
  open(8 * kMiB, 0);
  const Granule granule = make_granule(1);
  ASSERT_OK(put(kAlice, {granule}));
  const auto second = put(kBob, {granule});
  ASSERT_OK(second);
  EXPECT_EQ(second->accepted, 1u);
  EXPECT_EQ(second->already_there, 1u);
  ASSERT_OK(drop(kAlice));
  EXPECT_EQ(store_->snapshot().host_held, 1u);
  ASSERT_OK(drop(kBob));
  EXPECT_EQ(store_->snapshot().host_held, 0u);
  EXPECT_TRUE(has(granule));
}

TEST_F(StoreTest, SameKeyWithAnotherShapeIsRefused) {
  open(8 * kMiB, 0);
  Granule granule = make_granule(1);
  ASSERT_OK(put(kAlice, {granule}));
  granule.info.records = 8;
  granule.body.resize(granule.info.body_bytes());
  EXPECT_CODE(put(kAlice, {granule}), Code::kInvalid);
}

TEST_F(StoreTest, ARecordThatFailsItsCheckOnArrivalStoresNothing) {
  open(8 * kMiB, 0);
  Granule good = make_granule(1), bad = make_granule(2);
  bad.body[5000] ^= std::byte{1};
  const auto refused = put(kAlice, {good, bad});
  EXPECT_CODE(refused, Code::kCorrupt);
  EXPECT_NE(refused.error().message.find(to_text(bad.info.key)), std::string::npos);
  EXPECT_FALSE(has(good));
  EXPECT_EQ(store_->snapshot().corrupt, 1u);
  EXPECT_NE(metrics_.text().find("ebb_kv_checksum_failures_total{tier=\"wire\",where=\"put\"} 1"),
            std::string::npos)
      << metrics_.text();
}

TEST_F(StoreTest, PrivateGranulesGoWithTheirLastHolder) {
  open(8 * kMiB, 8 * kMiB);
  const Granule own = make_granule(1, {.kind = 1}), shared = make_granule(2);
  ASSERT_OK(put(kAlice, {own, shared}));
  ASSERT_OK(put(kBob, {own}));
  ASSERT_OK(drop(kAlice));
  EXPECT_TRUE(has(own));
  ASSERT_OK(drop(kBob));
  EXPECT_FALSE(has(own));
  EXPECT_TRUE(has(shared));
}

TEST_F(StoreTest, EndOfASessionEndsItsHoldsOnly) {
  open(8 * kMiB, 0);
  const Granule first = make_granule(1, {.kind = 1}), second = make_granule(2, {.kind = 1});
  ASSERT_OK(put({1, SeqId{7}}, {first}));
  ASSERT_OK(put({2, SeqId{7}}, {second}));
  store_->end_session(1);
  EXPECT_FALSE(has(first));
  EXPECT_TRUE(has(second));
}

TEST_F(StoreTest, WithoutAnSsdHeldGranulesStayAndTheRestIsRefused) {
  open(2 * kMiB, 0);
  std::vector<Granule> kept;
  Result<PutReply> last = PutReply{};
  for (uint64_t i = 0; i < 200 && last; ++i) {
    last = put(kAlice, {make_granule(i)});
    if (last) kept.push_back(make_granule(i));
  }
  EXPECT_CODE(last, Code::kExhausted);
  EXPECT_GT(kept.size(), 20u);
  for (const Granule& granule : kept) EXPECT_TRUE(has(granule));
  // Once nobody holds them they make room.
  ASSERT_OK(drop(kAlice));
  ASSERT_OK(put(kBob, {make_granule(1000)}));
  EXPECT_TRUE(has(make_granule(1000)));
}

TEST_F(StoreTest, APutLargerThanMemoryGoesThroughToTheSsd) {
  open(2 * kMiB, 64 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 400; ++i) granules.push_back(make_granule(i));  // 19 MiB
  const auto reply = put(kAlice, granules);
  ASSERT_OK(reply);
  EXPECT_EQ(reply->accepted, 400u);
  EXPECT_LE(store_->snapshot().host.used_bytes, 2 * kMiB);
  size_t from_ssd = 0;
  for (const Granule& granule : granules) {
    TierKind from;
    ASSERT_TRUE(has(granule, &from));
    from_ssd += from == TierKind::kSsd;
  }
  EXPECT_GT(from_ssd, 300u);
  EXPECT_EQ(store_->snapshot().misses, 0u);
}

TEST_F(StoreTest, FullOfHeldGranulesInBothTiersRefusesAndLosesNothing) {
  open(1 * kMiB, 4 * kMiB);
  std::vector<Granule> kept;
  Result<PutReply> last = PutReply{};
  for (uint64_t i = 0; i < 400 && last; ++i) {
    last = put(kAlice, {make_granule(i)});
    if (last) kept.push_back(make_granule(i));
  }
  EXPECT_CODE(last, Code::kExhausted);
  EXPECT_GT(kept.size(), 40u);
  for (const Granule& granule : kept) EXPECT_TRUE(has(granule));
  EXPECT_LE(store_->snapshot().ssd.disk_bytes, 4 * kMiB);
}

TEST_F(StoreTest, CacheMakesRoomForWhatIsHeld) {
  open(1 * kMiB, 4 * kMiB);
  for (uint64_t i = 0; i < 300; ++i) {
    ASSERT_OK(put(kAlice, {make_granule(i)}));
    ASSERT_OK(drop(kAlice));
  }
  std::vector<Granule> held;
  for (uint64_t i = 1000; i < 1040; ++i) held.push_back(make_granule(i));
  ASSERT_OK(put(kBob, held));
  for (uint64_t i = 2000; i < 2200; ++i) {
    ASSERT_OK(put(kAlice, {make_granule(i)}));
    ASSERT_OK(drop(kAlice));
  }
  for (const Granule& granule : held) EXPECT_TRUE(has(granule));
  EXPECT_FALSE(has(make_granule(0)));
  EXPECT_GT(store_->snapshot().ssd_evictions, 0u);
}

TEST_F(StoreTest, WhatIsAskedForAgainComesBackIntoMemory) {
  open(1 * kMiB, 32 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 120; ++i) granules.push_back(make_granule(i));
  ASSERT_OK(put(kAlice, granules));
  ASSERT_OK(flush());
  TierKind from;
  EXPECT_TRUE(has(granules[3], &from));
  EXPECT_EQ(from, TierKind::kSsd);
  EXPECT_TRUE(has(granules[3]));  // by now it was used more recently than the oldest in memory
  EXPECT_TRUE(has(granules[3], &from));
  EXPECT_EQ(from, TierKind::kHost);
  EXPECT_EQ(stat(granules[3]).durable, true);  // its copy on the SSD stays
}

TEST_F(StoreTest, AScanOverMoreThanFitsPushesNothingOutOfMemory) {
  open(1 * kMiB, 32 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 120; ++i) granules.push_back(make_granule(i));
  ASSERT_OK(put(kAlice, granules));
  ASSERT_OK(flush());
  const uint64_t evictions = store_->snapshot().host_evictions;
  for (int pass = 0; pass < 3; ++pass) {
    for (const Granule& granule : granules) ASSERT_TRUE(has(granule));
  }
  EXPECT_LE(store_->snapshot().host_evictions, evictions + 5);
}

TEST_F(StoreTest, AFlippedByteInMemoryIsACountedMiss) {
  open(8 * kMiB, 0);
  const Granule granule = make_granule(1);
  ASSERT_OK(put(kAlice, {make_granule(2)}));  // the fault point registers on its first pass
  ASSERT_TRUE(arm_fault("kvstore.host.flip"));
  ASSERT_OK(put(kAlice, {granule}));
  disarm_all_faults();
  EXPECT_FALSE(has(granule));
  EXPECT_EQ(store_->snapshot().corrupt, 1u);
  EXPECT_EQ(stat(granule).tier, TierKind::kNone);  // dropped: not asked for again
  EXPECT_FALSE(has(granule));
  EXPECT_EQ(store_->snapshot().corrupt, 1u);
  EXPECT_TRUE(has(make_granule(2)));
}

TEST_F(StoreTest, CorruptMemoryFallsBackToTheCopyOnTheSsd) {
  open(8 * kMiB, 16 * kMiB);
  const Granule granule = make_granule(1);
  ASSERT_OK(put(kAlice, {granule}));
  ASSERT_OK(flush());
  store_.reset();
  open(8 * kMiB, 16 * kMiB);
  ASSERT_TRUE(arm_fault("kvstore.host.flip"));
  EXPECT_TRUE(has(granule));  // from the SSD, and promoted, which flips a byte in memory
  disarm_all_faults();
  TierKind from;
  EXPECT_TRUE(has(granule, &from));
  EXPECT_EQ(from, TierKind::kSsd);
  EXPECT_EQ(store_->snapshot().corrupt, 1u);
}

TEST_F(StoreTest, CorruptMemoryIsNotCopiedToTheSsd) {
  open(8 * kMiB, 16 * kMiB);
  ASSERT_OK(put(kAlice, {make_granule(2)}));
  ASSERT_TRUE(arm_fault("kvstore.host.flip"));
  ASSERT_OK(put(kAlice, {make_granule(1)}));
  disarm_all_faults();
  ASSERT_OK(flush());
  EXPECT_EQ(store_->snapshot().corrupt, 1u);
  EXPECT_FALSE(has(make_granule(1)));
  EXPECT_TRUE(has(make_granule(2)));
  EXPECT_EQ(store_->snapshot().ssd.granules, 1u);
}

TEST_F(StoreTest, FlushMakesDurableWhatWasAccepted) {
  open(8 * kMiB, 32 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 60; ++i) granules.push_back(make_granule(i));
  ASSERT_OK(put(kAlice, granules));
  EXPECT_EQ(stat(granules[59]).tier, TierKind::kHost);
  EXPECT_FALSE(stat(granules[59]).durable);
  ASSERT_OK(flush());
  for (const Granule& granule : granules) EXPECT_TRUE(stat(granule).durable);
  open(8 * kMiB, 32 * kMiB);
  EXPECT_EQ(store_->restart().granules, 60u);
  EXPECT_EQ(store_->restart().corrupt, 0u);
  for (const Granule& granule : granules) EXPECT_TRUE(has(granule));
}

TEST_F(StoreTest, FlushWithoutAnSsdSaysSo) {
  open(8 * kMiB, 0);
  EXPECT_CODE(flush(), Code::kUnsupported);
}

TEST_F(StoreTest, FlushOfMoreThanTheSsdTakesSaysSo) {
  open(16 * kMiB, 4 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 200; ++i) granules.push_back(make_granule(i));  // 9.6 MiB
  ASSERT_OK(put(kAlice, granules));
  EXPECT_CODE(flush(), Code::kExhausted);
  for (const Granule& granule : granules) EXPECT_TRUE(has(granule));
}

TEST_F(StoreTest, APutWaitsForRoomNoLongerThanItsDeadline) {
  open(1 * kMiB, 16 * kMiB);
  ASSERT_OK(put(kAlice, {make_granule(1)}));
  ASSERT_OK(flush());  // registers the fault points
  std::vector<Granule> granules;
  for (uint64_t i = 100; i < 160; ++i) granules.push_back(make_granule(i));
  ASSERT_TRUE(arm_fault("kvstore.ssd.write", 1'000'000));
  const auto refused = put(kAlice, granules, Millis(300));
  disarm_all_faults();
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().code == Code::kTimeout || refused.error().code == Code::kExhausted);
  // The SSD works again: so do puts, after the store has tried again.
  EXPECT_TRUE(eventually([&] { return put(kAlice, granules, Millis(2000)).has_value(); }));
  for (const Granule& granule : granules) EXPECT_TRUE(has(granule));
}

TEST_F(StoreTest, ADropEndsPutsThatStillWait) {
  open(1 * kMiB, 32 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 300; ++i) granules.push_back(make_granule(i, {.kind = 1}));
  std::vector<PutItem> items;
  for (const Granule& granule : granules) items.push_back(granule.put_item());
  auto answer = std::make_shared<std::promise<Result<PutReply>>>();
  store_->put(kAlice, items, nullptr, Deadline::after(Millis(10000)),
              [answer](Result<PutReply> reply) { answer->set_value(std::move(reply)); });
  ASSERT_OK(drop(kAlice));
  (void)answer->get_future().get();  // cancelled, or done before the drop came
  EXPECT_EQ(store_->snapshot().host_held + store_->snapshot().ssd_held, 0u);
  for (uint64_t i = 0; i < 300; i += 10) EXPECT_FALSE(has(granules[i]));
}

TEST_F(StoreTest, StopsCleanlyWhilePutsWait) {
  open(1 * kMiB, 16 * kMiB);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 200; ++i) granules.push_back(make_granule(i));
  std::vector<PutItem> items;
  for (const Granule& granule : granules) items.push_back(granule.put_item());
  std::atomic<int> answers = 0;
  for (int i = 0; i < 5; ++i) {
    store_->put({1, SeqId{uint64_t(i)}}, items, nullptr, Deadline::after(Millis(10000)),
                [&](const auto&) { ++answers; });
  }
  store_.reset();
  EXPECT_EQ(answers, 5);
}

TEST_F(StoreTest, AgreesWithAModelThatKnowsWhatMayBeLost) {
  open(1 * kMiB, 6 * kMiB);
  std::mt19937 random(23);
  std::map<uint64_t, std::set<uint64_t>>
      holders;  // granule -> sequences that hold it: must be there
  std::set<uint64_t> ever;
  for (int step = 0; step < 2500; ++step) {
    const uint64_t number = random() % 600;
    const Shape shape{.records = static_cast<uint16_t>(4 + number % 13),
                      .payload_bytes = static_cast<uint32_t>(512 + 512 * (number % 7)),
                      .kind = static_cast<uint16_t>(number % 5 == 0)};
    const uint64_t sequence = random() % 6;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        if (put({1, SeqId{sequence}}, {make_granule(number, shape)})) {
          holders[number].insert(sequence);
          ever.insert(number);
        }
        break;
      case 3:
        if (random() % 4 != 0) break;
        ASSERT_OK(drop({1, SeqId{sequence}}));
        for (auto& [granule, sequences] : holders) sequences.erase(sequence);
        std::erase_if(holders, [](const auto& item) { return item.second.empty(); });
        break;
      default: {
        const bool there = has(make_granule(number, shape));
        ASSERT_TRUE(there || !holders.contains(number))
            << "a held granule was lost at step " << step;
        ASSERT_TRUE(!there || ever.contains(number)) << "step " << step;
        const bool must_be_gone = number % 5 == 0 && !holders.contains(number);
        ASSERT_FALSE(there && must_be_gone) << "private and not held, step " << step;
      }
    }
    const StoreSnapshot snapshot = store_->snapshot();
    ASSERT_LE(snapshot.host.used_bytes, 1 * kMiB);
    ASSERT_LE(snapshot.ssd.disk_bytes, 6 * kMiB) << "step " << step;
    ASSERT_EQ(snapshot.corrupt, 0u);
  }
  EXPECT_GT(store_->snapshot().ssd_evictions, 0u);
}

}  // namespace
}  // namespace ebb::kvstore
