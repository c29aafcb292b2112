// Client and store over a real messenger on the loopback: round trips, refusals, damage on the
// wire, loss of the store.
#include "kvstore/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/fault.h"
#include "base/units.h"
#include "kvstore/client.h"
#include "tests/kvstore/service_fixture.h"

namespace ebb::kvstore {
namespace {

using ::testing::HasSubstr;
using ServiceTest = ServiceFixture;

TEST_F(ServiceTest, ManyGranulesAndBitmapsMakeTheRoundTrip) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 600; ++i)
    granules.push_back(make_granule(i));  // 29 MiB: several messages
  const auto stored = put(**client, SeqId{1}, granules);
  ASSERT_OK(stored);
  EXPECT_EQ(stored->accepted, 600u);
  EXPECT_EQ(stored->already_there, 0u);

  std::mt19937 random(3);
  std::vector<GetItem> items;
  std::vector<std::byte> expected;
  for (uint64_t i = 0; i < 700; ++i) {
    const Granule granule = i < 600 ? granules[i] : make_granule(i);  // a hundred were never stored
    items.push_back(ask(granule, random()));
    const auto frames = frames_of(granule, items.back().bitmap);
    expected.insert(expected.end(), frames.begin(), frames.end());
  }
  std::vector<size_t> order(items.size());
  const auto reply = get(**client, items);
  ASSERT_OK(reply);
  EXPECT_EQ(reply->corrupt, 0u);
  uint64_t place = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const bool there = i < 600 || items[i].bitmap == 0;
    ASSERT_EQ(reply->items[i].present, there ? items[i].bitmap : 0) << i;
    const uint64_t bytes = items[i].asked_bytes();
    if (there) {
      ASSERT_EQ(std::memcmp(frames_.data() + place, expected.data() + place, bytes), 0) << i;
    }
    place += bytes;
  }
}

TEST_F(ServiceTest, RecordsStandAtTheirPlacesWhateverIsMissing) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  std::mt19937 random(9);
  for (int round = 0; round < 30; ++round) {
    std::vector<Granule> granules;
    std::vector<GetItem> items;
    std::vector<bool> there;
    std::vector<Granule> stored;
    for (int i = 0; i < 8; ++i) {
      granules.push_back(make_granule(random(), {.records = 16, .payload_bytes = 3072}));
      there.push_back(random() % 2);
      if (there.back()) stored.push_back(granules.back());
      items.push_back(ask(granules.back(), random()));
    }
    ASSERT_OK(put(**client, SeqId{1}, stored));
    const auto reply = get(**client, items);
    ASSERT_OK(reply);
    uint64_t place = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      const auto expected = frames_of(granules[i], items[i].bitmap);
      ASSERT_EQ(reply->items[i].present, there[i] ? items[i].bitmap : 0u);
      if (there[i]) {
        ASSERT_EQ(std::memcmp(frames_.data() + place, expected.data(), expected.size()), 0);
      }
      place += items[i].asked_bytes();
    }
  }
}

TEST_F(ServiceTest, DropStatAndFlushWork) {
  start(16 * kMiB, 64 * kMiB);
  auto client = connect(identity());
  ASSERT_OK(client);
  const Granule shared = make_granule(1), own = make_granule(2, {.kind = 1});
  ASSERT_OK(put(**client, SeqId{1}, {shared, own}));
  const std::vector<GranuleKey> keys{shared.info.key, own.info.key, make_granule(3).info.key};
  const auto stat = [&] {
    return *wait_for<std::vector<StatItem>>(
        [&](auto done) { (*client)->stat(keys, Deadline::after(kLong), done); });
  };
  EXPECT_EQ(stat()[0].tier, TierKind::kHost);
  EXPECT_FALSE(stat()[0].durable);
  EXPECT_EQ(stat()[2].tier, TierKind::kNone);
  ASSERT_OK(wait_for<void>([&](auto done) { (*client)->flush(Deadline::after(kLong), done); }));
  EXPECT_TRUE(stat()[0].durable);
  EXPECT_TRUE(stat()[1].durable);
  ASSERT_OK(
      wait_for<void>([&](auto done) { (*client)->drop(SeqId{1}, Deadline::after(kLong), done); }));
  EXPECT_EQ(stat()[0].tier, TierKind::kHost);
  EXPECT_EQ(stat()[1].tier, TierKind::kNone);
}

TEST_F(ServiceTest, AFlippedByteOnTheWayToTheStoreIsRefused) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  ASSERT_OK(
      put(**client, SeqId{1}, {make_granule(1)}));  // the fault point registers on its first pass
  ASSERT_TRUE(arm_fault("kvstore.wire.put"));
  EXPECT_CODE(put(**client, SeqId{1}, {make_granule(2)}), Code::kCorrupt);
  disarm_all_faults();
  const auto reply = get(**client, {ask(make_granule(1)), ask(make_granule(2))});
  ASSERT_OK(reply);
  EXPECT_EQ(reply->items[0].present, 0xffffu);
  EXPECT_EQ(reply->items[1].present, 0u);
  EXPECT_EQ(server_.service->status().corrupt, 1u);
}

TEST_F(ServiceTest, AFlippedByteOnTheWayToTheClientIsACountedMiss) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  ASSERT_OK(put(**client, SeqId{1}, {make_granule(1)}));
  ASSERT_OK(get(**client, {ask(make_granule(1))}));
  ASSERT_TRUE(arm_fault("kvstore.client.arrival"));
  auto reply = get(**client, {ask(make_granule(1))});
  disarm_all_faults();
  ASSERT_OK(reply);
  EXPECT_EQ(reply->items[0].present, 0xfffeu);
  EXPECT_EQ(reply->corrupt, 1u);
  EXPECT_NE(
      metrics_.text().find("ebb_kv_checksum_failures_total{tier=\"wire\",where=\"client\"} 1"),
      std::string::npos);
  reply = get(**client, {ask(make_granule(1))});
  ASSERT_OK(reply);
  EXPECT_EQ(reply->items[0].present, 0xffffu);
}

TEST_F(ServiceTest, UnreadRecordsOfAnItemLieSideBySideWhereTheReplySays) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  const Granule first = make_granule(1), third = make_granule(3);
  ASSERT_OK(put(**client, SeqId{1}, {first, third}));
  GetItem some = ask(third);
  some.bitmap = 0x8005;
  const std::vector<GetItem> items = {ask(first), ask(make_granule(2)), some};
  const uint64_t frame = framed_bytes(first.info.payload_bytes);
  for (const Arrival arrival : {Arrival::kChecked, Arrival::kUnread, Arrival::kOnDevice}) {
    const auto reply = get(**client, items, arrival);
    ASSERT_OK(reply);
    EXPECT_EQ(reply->items[1].present, 0u);
    EXPECT_EQ(reply->items[0].at, 0u);
    EXPECT_EQ(reply->items[2].at, (arrival == Arrival::kChecked ? 32 : 16) * frame);
    uint64_t at = reply->items[2].at;
    for (const uint32_t bit : {0u, 2u, 15u}) {
      EXPECT_TRUE(verify_record(std::span(frames_).subspan(at, frame), some.key, some.first + bit));
      at += frame;
    }
  }
}

TEST_F(ServiceTest, ARecordThatNobodyReadsIsNotCalledBad) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  ASSERT_OK(put(**client, SeqId{1}, {make_granule(1)}));
  ASSERT_OK(get(**client, {ask(make_granule(1))}));
  ASSERT_TRUE(arm_fault("kvstore.client.arrival"));
  for (const Arrival arrival : {Arrival::kUnread, Arrival::kOnDevice}) {
    const auto reply = get(**client, {ask(make_granule(1))}, arrival);
    ASSERT_OK(reply);
    EXPECT_EQ(reply->items[0].present, 0xffffu);
    EXPECT_EQ(reply->corrupt, 0u);
  }
  disarm_all_faults();
}

TEST_F(ServiceTest, WhatLandsOnADeviceIsCountedAndIsWhatWasPut) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  const Granule granule = make_granule(1);
  ASSERT_OK(put(**client, SeqId{1}, {granule}));
  ASSERT_OK(get(**client, {ask(granule)}, Arrival::kUnread));
  EXPECT_THAT(metrics_.text(), HasSubstr("ebb_kv_client_device_bytes_total 0"));
  ASSERT_OK(get(**client, {ask(granule)}, Arrival::kOnDevice));
  EXPECT_EQ(frames_, granule.body);
  EXPECT_THAT(metrics_.text(),
              HasSubstr("ebb_kv_client_device_bytes_total " + std::to_string(frames_.size())));
}

TEST_F(ServiceTest, AnotherLayoutUnderTheSameEpochIsRefusedNamingBoth) {
  start();
  auto first = connect(identity(5, 0xaa));
  ASSERT_OK(first);
  const auto second = connect(identity(5, 0xbb, "g0/rank1"));
  EXPECT_CODE(second, Code::kInvalid);
  EXPECT_NE(second.error().message.find(to_hex(layout_of(0xaa))), std::string::npos)
      << second.error().message;
  EXPECT_NE(second.error().message.find(to_hex(layout_of(0xbb))), std::string::npos);
  ASSERT_OK(connect(identity(5, 0xaa, "g0/rank1")));
  ASSERT_OK(connect(identity(6, 0xbb, "g0/rank1")));  // a new epoch may have a new layout
}

TEST_F(ServiceTest, AnotherProtocolVersionOfOursIsRefusedNamingBoth) {
  start();
  data::PeerIdentity peer;
  peer.cluster_token = "token";
  peer.node = "stranger";
  peer.hello = wire::encode_hello({"g0", {}, {1}});
  peer.hello[4] = std::byte{7};
  const auto refused =
      messenger_->connect({"127.0.0.1", server_.messenger->port()}, peer, Deadline::after(kLong));
  EXPECT_CODE(refused, Code::kUnsupported);
  EXPECT_NE(refused.error().message.find("version 7"), std::string::npos)
      << refused.error().message;
}

TEST_F(ServiceTest, ANewerEpochEndsTheHoldsOfTheOlder) {
  start();
  auto old = connect(identity(1));
  ASSERT_OK(old);
  const Granule shared = make_granule(1), own = make_granule(2, {.kind = 1});
  ASSERT_OK(put(**old, SeqId{1}, {shared, own}));
  auto fresh = connect(identity(2, 1, "g0/rank1"));
  ASSERT_OK(fresh);
  const auto reply = get(**fresh, {ask(shared), ask(own)});
  ASSERT_OK(reply);
  EXPECT_EQ(reply->items[0].present, 0xffffu);  // cache now
  EXPECT_EQ(reply->items[1].present, 0u);
  EXPECT_EQ(server_.store->snapshot().host_held, 0u);
  const auto late = put(**old, SeqId{1}, {make_granule(3)});
  EXPECT_CODE(late, Code::kInvalid);
  EXPECT_NE(late.error().message.find("epoch 1 of group g0 is over"), std::string::npos)
      << late.error().message;
  const auto again = connect(identity(1));
  EXPECT_CODE(again, Code::kInvalid);
}

TEST_F(ServiceTest, ARequestOfAnotherEpochThanTheHelloIsRefused) {
  start();
  data::PeerIdentity peer;
  peer.cluster_token = "token";
  peer.node = "g0/rank0";
  peer.epoch = Epoch{4};
  peer.hello = wire::encode_hello({"g0", layout_of(1), {3072}});
  auto connection =
      messenger_->connect({"127.0.0.1", server_.messenger->port()}, peer, Deadline::after(kLong));
  ASSERT_OK(connection);
  const auto send = [&](std::vector<std::byte> header, uint16_t operation) {
    return wait_for<data::Reply>([&](auto done) {
      data::Connection::Request request;
      request.operation = operation;
      request.header = std::move(header);
      request.deadline = Deadline::after(kLong);
      (*connection)->send(std::move(request), done);
    });
  };
  const auto refused =
      send(wire::encode_request({wire::Operation::kDrop, Epoch{3}, SeqId{1}, 0, 1000}), 3);
  EXPECT_CODE(refused, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("epoch 3"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("epoch 4"), std::string::npos);
  // Nonsense is answered, and the connection goes on.
  EXPECT_CODE(send({std::byte{1}, std::byte{2}}, 2), Code::kInvalid);
  EXPECT_CODE(
      send(wire::encode_request({wire::Operation::kGet, Epoch{4}, SeqId{1}, 5000, 1000}), 2),
      Code::kInvalid);
  ASSERT_OK(send(wire::encode_request({wire::Operation::kDrop, Epoch{4}, SeqId{1}, 0, 1000}), 3));
}

TEST_F(ServiceTest, WhatDoesNotFitTheHelloOrTheLimitsIsRefused) {
  start();
  auto client = connect(identity());
  ASSERT_OK(client);
  EXPECT_CODE(put(**client, SeqId{1}, {make_granule(1, {.payload_bytes = 1024})}), Code::kInvalid);
  EXPECT_CODE(put(**client, SeqId{1}, {make_granule(1, {.band = 2})}), Code::kInvalid);
  EXPECT_CODE(put(**client, SeqId{1}, {make_granule(1, {.payload_bytes = 300000})}),
              Code::kInvalid);
  std::vector<std::byte> small(10);
  const auto refused = wait_for<GetReply>([&](auto done) {
    (*client)->get({ask(make_granule(1))}, small, Arrival::kChecked, Deadline::after(kLong), done);
  });
  EXPECT_CODE(refused, Code::kInvalid);
}

TEST_F(ServiceTest, ExhaustionReachesTheClientAsSuch) {
  start(2 * kMiB);
  auto client = connect(identity());
  ASSERT_OK(client);
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 100; ++i) granules.push_back(make_granule(i));
  const auto refused = put(**client, SeqId{1}, granules);
  EXPECT_CODE(refused, Code::kExhausted);
  EXPECT_NE(refused.error().message.find("held"), std::string::npos) << refused.error().message;
}

TEST_F(ServiceTest, AStoreThatComesBackOnItsPortIsUsedAgain) {
  start(16 * kMiB, 64 * kMiB);
  const uint16_t port = server_.messenger->port();
  auto client = connect(identity());
  ASSERT_OK(client);
  ASSERT_OK(put(**client, SeqId{1}, {make_granule(1)}));
  ASSERT_OK(wait_for<void>([&](auto done) { (*client)->flush(Deadline::after(kLong), done); }));
  server_.stop();
  const auto gone = get(**client, {ask(make_granule(1))});
  ASSERT_FALSE(gone.has_value());
  EXPECT_TRUE(gone.error().code == Code::kUnavailable || gone.error().code == Code::kTimeout)
      << gone.error().text();
  server_.start(options_, port);
  ASSERT_TRUE(eventually([&] {
    const auto reply = get(**client, {ask(make_granule(1))});
    return reply.has_value() && reply->items[0].present == 0xffffu;
  }));
  ASSERT_OK(put(**client, SeqId{1}, {make_granule(2)}));
}

TEST_F(ServiceTest, ManyClientsAtOnceSeeTheirOwnBytes) {
  start(4 * kMiB, 128 * kMiB);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 4; ++i) {
    auto client = connect(identity(1, 1, "g0/rank" + std::to_string(i)));
    ASSERT_OK(client);
    clients.push_back(std::move(*client));
  }
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (uint64_t round = 0; round < 10; ++round) {
        std::vector<Granule> granules;
        std::vector<PutItem> puts;
        std::vector<GetItem> gets;
        for (uint64_t g = 0; g < 12; ++g)
          granules.push_back(make_granule(i * 10000 + round * 100 + g));
        for (const Granule& granule : granules) {
          puts.push_back(granule.put_item());
          gets.push_back(ask(granule));
        }
        const auto stored = wait_for<PutReply>(
            [&](auto done) { clients[i]->put(SeqId{round}, puts, Deadline::after(kLong), done); });
        std::vector<std::byte> frames(get_destination_bytes(gets));
        const auto reply = wait_for<GetReply>([&](auto done) {
          clients[i]->get(gets, frames, Arrival::kChecked, Deadline::after(kLong), done);
        });
        uint64_t place = 0;
        for (size_t g = 0; g < granules.size(); ++g) {
          const bool good =
              stored && reply && reply->items[g].present == 0xffff &&
              std::equal(granules[g].body.begin(), granules[g].body.end(), frames.begin() + place);
          wrong += !good;
          place += granules[g].body.size();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(server_.service->status().tiers[1].used_bytes, 0u);
}

}  // namespace
}  // namespace ebb::kvstore
