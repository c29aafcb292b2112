// The index agrees with a plain model about holds, order of use and what each tier holds.
#include "kvstore/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

GranuleInfo info_of(uint64_t number) {
  GranuleInfo info;
  std::memcpy(info.key.digest.bytes.data(), &number, sizeof number);
  return info;
}
uint64_t number_of(const GranuleKey& key) {
  uint64_t number;
  std::memcpy(&number, key.digest.bytes.data(), sizeof number);
  return number;
}
std::vector<uint64_t> numbers(const std::vector<Candidate>& candidates) {
  std::vector<uint64_t> all;
  for (const Candidate& candidate : candidates) all.push_back(number_of(candidate.key));
  return all;
}

TEST(Index, TheLeastRecentlyUsedComesFirst) {
  Index index;
  for (uint64_t i = 0; i < 4; ++i) index.set_on_host(index.add(info_of(i), 10, 12), true);
  index.touch(*index.find(info_of(0).key));
  EXPECT_EQ(numbers(index.oldest(TierKind::kHost, 10)), (std::vector<uint64_t>{1, 2, 3, 0}));
  EXPECT_EQ(numbers(index.oldest(TierKind::kHost, 2)), (std::vector<uint64_t>{1, 2}));
}

TEST(Index, WhatMovesIsNoCandidate) {
  Index index;
  for (uint64_t i = 0; i < 3; ++i) index.set_on_host(index.add(info_of(i), 10, 12), true);
  index.set_moving(*index.find(info_of(0).key), true);
  EXPECT_EQ(numbers(index.oldest(TierKind::kHost, 10)), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(index.keys_without_copy().size(), 3u);
}

TEST(Index, AnErasedEntryTakesItsHoldsAlong) {
  Index index;
  IndexEntry& entry = index.add(info_of(1), 10, 12);
  index.set_on_host(entry, true);
  EXPECT_TRUE(index.hold(entry, {1, SeqId{5}}));
  index.erase(info_of(1).key);
  EXPECT_TRUE(index.release({1, SeqId{5}}).empty());
  EXPECT_EQ(index.held_in(TierKind::kHost), 0u);
}

std::vector<uint64_t> numbers(const std::vector<const IndexEntry*>& entries) {
  std::vector<uint64_t> all;
  for (const IndexEntry* entry : entries) all.push_back(number_of(entry->info.key));
  return all;
}

TEST(Index, ListsInOrderOfKeysWhateverTheOrderOfUse) {
  Index index;
  for (uint64_t i : {3, 1, 4, 0, 2}) index.add(info_of(i), 10, 12);
  EXPECT_EQ(numbers(index.by_key(nullptr, 10)), (std::vector<uint64_t>{0, 1, 2, 3, 4}));
  const GranuleKey two = info_of(2).key;
  EXPECT_EQ(numbers(index.by_key(&two, 1)), (std::vector<uint64_t>{3}));
  index.erase(two);  // a place in a list outlives what stood there
  EXPECT_EQ(numbers(index.by_key(&two, 10)), (std::vector<uint64_t>{3, 4}));
}

/// The same, plainly.
struct Model {
  struct Entry {
    bool host = false, ssd = false;
    std::set<std::pair<uint64_t, uint64_t>> holders;
  };
  std::map<uint64_t, Entry> entries;
  std::vector<uint64_t> order;  // least recently used first

  void use(uint64_t number) {
    std::erase(order, number);
    order.push_back(number);
  }
  std::set<uint64_t> release(uint64_t session, uint64_t sequence) {
    std::set<uint64_t> unheld;
    for (auto& [number, entry] : entries) {
      if (entry.holders.erase({session, sequence}) && entry.holders.empty()) unheld.insert(number);
    }
    return unheld;
  }
  void expect_same_lists(const Index& index) const {
    const uint64_t after = 7, limit = 20, sequence = 2;
    std::vector<uint64_t> all, of_sequence;
    for (const auto& [number, entry] : entries) {
      if (number <= after) continue;
      const bool held = std::any_of(entry.holders.begin(), entry.holders.end(),
                                    [](const auto& holder) { return holder.second == sequence; });
      if (all.size() < limit) all.push_back(number);
      if (held && of_sequence.size() < limit) of_sequence.push_back(number);
    }
    const GranuleKey key = info_of(after).key;
    ASSERT_EQ(numbers(index.by_key(&key, limit)), all);
    ASSERT_EQ(numbers(index.held_by_key(SeqId{sequence}, &key, limit)), of_sequence);
  }
  void expect_same(const Index& index) const {
    std::vector<uint64_t> host, ssd_unheld, without_copy;
    uint64_t ssd_bytes = 0, clean = 0, held_host = 0;
    for (uint64_t number : order) {
      const Entry& entry = entries.at(number);
      if (entry.host) host.push_back(number);
      if (entry.host && !entry.ssd) without_copy.push_back(number);
      if (entry.ssd && entry.holders.empty()) ssd_unheld.push_back(number);
      if (entry.ssd) ssd_bytes += 20 + number;
      if (entry.ssd && entry.host) clean += 10 + number;
      if (entry.host && !entry.holders.empty()) ++held_host;
    }
    ASSERT_EQ(numbers(index.oldest(TierKind::kHost, 100)), host);
    ASSERT_EQ(numbers(index.oldest_unheld(TierKind::kSsd, 100)), ssd_unheld);
    ASSERT_EQ(numbers(index.oldest_without_copy(100)), without_copy);
    ASSERT_EQ(index.ssd_bytes(), ssd_bytes);
    ASSERT_EQ(index.clean_host_bytes(), clean);
    ASSERT_EQ(index.held_in(TierKind::kHost), held_host);
    expect_same_lists(index);
  }
};

TEST(Index, AgreesWithAModelThroughRandomUse) {
  Index index;
  Model model;
  std::mt19937 random(8);
  for (int step = 0; step < 6000; ++step) {
    const uint64_t number = random() % 40;
    const uint64_t session = random() % 3, sequence = random() % 4;
    IndexEntry* entry = index.find(info_of(number).key);
    ASSERT_EQ(entry != nullptr, model.entries.contains(number));
    if (entry == nullptr) {
      index.set_on_host(index.add(info_of(number), 10 + number, 20 + number), true);
      model.entries[number].host = true;
      model.use(number);
      continue;
    }
    Model::Entry& modelled = model.entries[number];
    switch (random() % 7) {
      case 0:
        index.touch(*entry);
        model.use(number);
        break;
      case 1:
        index.set_on_host(*entry, modelled.host = random() % 2);
        break;
      case 2:
        index.set_on_ssd(*entry, modelled.ssd = random() % 2);
        break;
      case 3:
      case 4:
        ASSERT_TRUE(index.hold(*entry, {session, SeqId{sequence}}));
        modelled.holders.insert({session, sequence});
        break;
      case 5: {
        std::set<uint64_t> unheld;
        for (const GranuleKey& key : index.release({session, SeqId{sequence}})) {
          unheld.insert(number_of(key));
        }
        ASSERT_EQ(unheld, model.release(session, sequence));
        break;
      }
      default:
        if (random() % 4 != 0) break;
        index.erase(info_of(number).key);
        model.entries.erase(number);
        std::erase(model.order, number);
    }
    model.expect_same(index);
    if (testing::Test::HasFatalFailure()) FAIL() << "step " << step;
  }
}

}  // namespace
}  // namespace ebb::kvstore
