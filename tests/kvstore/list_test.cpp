// Lists of granules over a real messenger, from memory and from RocksDB: whole, in order, bounded.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "kvstore/listing.h"
#include "tests/kvstore/service_fixture.h"

namespace ebb::kvstore {
namespace {

class ListTest : public ServiceFixture {
 protected:
  Result<ListPage> list(Client& client, const ListQuery& query) {
    return wait_for<ListPage>([&](auto done) { client.list(query, Deadline::after(kLong), done); });
  }
  /// All pages from `query` on, by key. Fails the test where keys do not ascend, where a page is
  /// larger than asked for, or where an empty one says that there is more.
  std::map<GranuleKey, ListItem> list_all(Client& client, ListQuery query) {
    std::map<GranuleKey, ListItem> all;
    for (;;) {
      const auto page = list(client, query);
      EXPECT_TRUE(page.has_value()) << page.error().text();
      if (!page) return all;
      EXPECT_LE(page->items.size(), query.limit);
      for (const ListItem& item : page->items) {
        EXPECT_TRUE(all.empty() || all.rbegin()->first < item.info.key);
        all[item.info.key] = item;
      }
      if (!page->next) return all;
      query.after = page->next;
    }
  }
  Result<void> flush(Client& client) {
    return wait_for<void>([&](auto done) { client.flush(Deadline::after(kLong), done); });
  }
  Result<void> drop(Client& client, SeqId holder) {
    return wait_for<void>([&](auto done) { client.drop(holder, Deadline::after(kLong), done); });
  }
};

std::vector<Granule> granules_from(uint64_t first, uint64_t count, Shape shape = {}) {
  std::vector<Granule> granules;
  for (uint64_t i = first; i < first + count; ++i) granules.push_back(make_granule(i, shape));
  return granules;
}

TEST_F(ListTest, SaysOfEveryGranuleWhatAndWhereItIs) {
  start(2 * kMiB, 64 * kMiB);
  auto client = connect(identity());
  ASSERT_OK(client);
  auto granules = granules_from(0, 200);  // 9.6 MiB: most of it only fits the SSD
  const auto odd = granules_from(500, 3, {.records = 5, .payload_bytes = 4096, .band = 1});
  granules.insert(granules.end(), odd.begin(), odd.end());
  ASSERT_OK(put(**client, SeqId{1}, granules));
  ASSERT_OK(flush(**client));
  for (const uint32_t limit : {1u, 37u, kListLimitMax}) {
    const auto all = list_all(**client, {.limit = limit});
    ASSERT_EQ(all.size(), granules.size());
    uint64_t on_host = 0, on_ssd = 0;
    for (const Granule& granule : granules) {
      ASSERT_TRUE(all.contains(granule.info.key));
      const ListItem& item = all.at(granule.info.key);
      EXPECT_EQ(item.info.first, granule.info.first);
      EXPECT_EQ(item.info.records, granule.info.records);
      EXPECT_EQ(item.info.body_bytes(), granule.body.size());
      EXPECT_EQ(item.holders, 1u);
      EXPECT_TRUE(item.durable);
      on_host += item.on_host;
      on_ssd += item.on_ssd;
    }
    const control::StoreStatus status = server_.service->status();
    EXPECT_EQ(on_host, status.tiers[0].granules);
    EXPECT_EQ(on_ssd, granules.size());
    EXPECT_GT(on_host, 0u);
    EXPECT_LT(on_host, granules.size());
  }
}

TEST_F(ListTest, AnEmptyStoreHasOneEmptyPage) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  const auto page = list(**client, {});
  ASSERT_OK(page);
  EXPECT_TRUE(page->items.empty());
  EXPECT_FALSE(page->next);
  // A page that is just full is the last one too.
  ASSERT_OK(put(**client, SeqId{1}, granules_from(0, 4)));
  const auto full = list(**client, {.limit = 4});
  ASSERT_OK(full);
  EXPECT_EQ(full->items.size(), 4u);
  EXPECT_FALSE(full->next);
}

TEST_F(ListTest, OfASequenceShowsWhatAnyNodeHoldsForIt) {
  start();
  auto first = connect(identity(1, 1, "g0/rank0")), second = connect(identity(1, 1, "g0/rank1"));
  ASSERT_OK(first);
  ASSERT_OK(second);
  const auto shared = granules_from(0, 5), own = granules_from(10, 5, {.kind = 1}),
             other = granules_from(20, 5);
  ASSERT_OK(put(**first, SeqId{7}, shared));
  ASSERT_OK(put(**second, SeqId{7}, shared));
  ASSERT_OK(put(**second, SeqId{7}, own));
  ASSERT_OK(put(**first, SeqId{8}, other));
  const ListQuery seven{.sequence = SeqId{7}, .limit = 3};
  auto all = list_all(**first, seven);
  EXPECT_EQ(all.size(), 10u);
  for (const Granule& granule : shared) EXPECT_EQ(all.at(granule.info.key).holders, 2u);
  for (const Granule& granule : own) EXPECT_EQ(all.at(granule.info.key).holders, 1u);
  ASSERT_OK(drop(**first, SeqId{7}));
  EXPECT_EQ(list_all(**first, seven).size(), 10u);
  ASSERT_OK(drop(**second, SeqId{7}));
  EXPECT_TRUE(list_all(**first, seven).empty());
  all = list_all(**first, {});  // the private ones went, the others stay as cache
  EXPECT_EQ(all.size(), 10u);
  for (const Granule& granule : shared) EXPECT_EQ(all.at(granule.info.key).holders, 0u);
}

TEST_F(ListTest, PagesStayWholeWhileGranulesComeAndGo) {
  start(1 * kMiB, 64 * kMiB);
  auto reader = connect(identity(1, 1, "g0/rank0")), writer = connect(identity(1, 1, "g0/rank1"));
  ASSERT_OK(reader);
  ASSERT_OK(writer);
  const auto stays = granules_from(0, 60);
  ASSERT_OK(put(**reader, SeqId{1}, stays));
  std::set<GranuleKey> known;
  for (const Granule& granule : stays) known.insert(granule.info.key);
  for (const Granule& granule : granules_from(1000, 200, {.kind = 1}))
    known.insert(granule.info.key);
  std::atomic<bool> ended = false;
  std::thread coming_and_going([&] {
    for (uint64_t round = 0; round < 20; ++round) {
      EXPECT_OK(put(**writer, SeqId{2}, granules_from(1000 + round * 10, 10, {.kind = 1})));
      EXPECT_OK(drop(**writer, SeqId{2}));
    }
    ended = true;
  });
  do {
    const auto all = list_all(**reader, {.limit = 7});
    for (const Granule& granule : stays) EXPECT_TRUE(all.contains(granule.info.key));
    for (const auto& [key, item] : all) EXPECT_TRUE(known.contains(key));
  } while (!ended && !HasFailure());
  coming_and_going.join();
  EXPECT_EQ(list_all(**reader, {}).size(), stays.size());
}

TEST_F(ListTest, ACursorOutlivesARestartOfTheStore) {
  start(16 * kMiB, 64 * kMiB);
  const uint16_t port = server_.messenger->port();
  auto client = connect(identity());
  ASSERT_OK(client);
  const auto granules = granules_from(0, 50);
  ASSERT_OK(put(**client, SeqId{1}, granules));
  ASSERT_OK(flush(**client));
  const auto before = list(**client, {.limit = 20});
  ASSERT_OK(before);
  ASSERT_TRUE(before->next);
  EXPECT_TRUE(before->items[0].on_host);
  server_.stop();
  server_.start(options_, port);
  ASSERT_TRUE(eventually([&] { return list(**client, {.limit = 1}).has_value(); }));
  const auto after = list_all(**client, {.after = before->next, .limit = 20});
  EXPECT_EQ(after.size(), 30u);
  std::set<GranuleKey> seen;
  for (const ListItem& item : before->items) seen.insert(item.info.key);
  for (const auto& [key, item] : after) {
    seen.insert(key);
    EXPECT_TRUE(item.on_ssd && item.durable && !item.on_host);
    EXPECT_EQ(item.holders, 0u);  // nobody has said again that they need it
  }
  EXPECT_EQ(seen.size(), 50u);
}

TEST_F(ListTest, WrongLimitsAndCursorsAreRefusedBeforeTheyAreSent) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  ASSERT_OK(put(**client, SeqId{1}, granules_from(0, 3)));
  for (const uint32_t limit : {0u, kListLimitMax + 1}) {
    const auto refused = list(**client, {.limit = limit});
    EXPECT_CODE(refused, Code::kInvalid);
    EXPECT_NE(refused.error().message.find("allowed 1 to 1024"), std::string::npos)
        << refused.error().message;
  }
  auto page = list(**client, {.limit = 1});
  ASSERT_OK(page);
  ASSERT_TRUE(page->next);
  EXPECT_CODE(list(**client, {.sequence = SeqId{1}, .after = page->next}), Code::kInvalid);
  page->next->check ^= 1;
  EXPECT_CODE(list(**client, {.after = page->next}), Code::kInvalid);
}

TEST_F(ListTest, BadFramesAreRefusedByTheStoreAndTheConnectionGoesOn) {
  start();
  data::PeerIdentity peer;
  peer.cluster_token = "token";
  peer.node = "g0/rank0";
  peer.epoch = Epoch{4};
  peer.hello = wire::encode_hello({"g0", layout_of(1), {3072}});
  auto connection =
      messenger_->connect({"127.0.0.1", server_.messenger->port()}, peer, Deadline::after(kLong));
  ASSERT_OK(connection);
  const auto send = [&](Epoch epoch, uint32_t limit, const std::vector<std::byte>& payload) {
    return wait_for<data::Reply>([&](auto done) {
      data::Connection::Request request;
      request.operation = static_cast<uint16_t>(wire::Operation::kList);
      request.header = wire::encode_request({wire::Operation::kList, epoch, {}, limit, 1000});
      request.payload.push_back(payload);
      request.deadline = Deadline::after(kLong);
      (*connection)->send(std::move(request), done);
    });
  };
  const auto good = wire::encode_list_query({});
  auto other_scope = good, stray_cursor = good, cut = good;
  other_scope[0] = std::byte{9};
  stray_cursor[2] = std::byte{1};  // says that there is one, with a sum of nothing
  cut.pop_back();
  for (const auto& payload : {other_scope, stray_cursor, cut, std::vector<std::byte>()})
    EXPECT_CODE(send(Epoch{4}, 10, payload), Code::kInvalid);
  for (const uint32_t limit : {0u, kListLimitMax + 1, UINT32_MAX}) {
    const auto refused = send(Epoch{4}, limit, good);
    EXPECT_CODE(refused, Code::kInvalid);
    EXPECT_NE(refused.error().message.find("allowed 1 to 1024"), std::string::npos);
  }
  EXPECT_CODE(send(Epoch{3}, 10, good), Code::kInvalid);
  EXPECT_OK(send(Epoch{4}, 10, good));
  ASSERT_OK(connect(identity(5, 1, "g0/rank1")));  // ends epoch 4
  EXPECT_CODE(send(Epoch{4}, 10, good), Code::kInvalid);
}

}  // namespace
}  // namespace ebb::kvstore
