// What travels between client and store comes back the same, and no byte string breaks a decoder.
#include "kvstore/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

std::vector<std::byte> payload_of(const std::vector<Granule>& granules) {
  std::vector<PutItem> items;
  for (const Granule& granule : granules) items.push_back(granule.put_item());
  auto payload = wire::encode_put_table(items);
  for (const Granule& granule : granules)
    payload.insert(payload.end(), granule.body.begin(), granule.body.end());
  return payload;
}

TEST(Wire, HelloComesBack) {
  const wire::Hello hello{"g0", make_granule(1).info.key.digest, {3072, 4096, 512}};
  const auto decoded = wire::decode_hello(wire::encode_hello(hello));
  ASSERT_OK(decoded);
  EXPECT_EQ(decoded->group, "g0");
  EXPECT_EQ(decoded->layout, hello.layout);
  EXPECT_EQ(decoded->record_bytes, hello.record_bytes);
}

TEST(Wire, AnotherVersionIsRefusedNamingBoth) {
  auto bytes = wire::encode_hello({"g0", {}, {1}});
  bytes[4] = std::byte{9};
  const auto decoded = wire::decode_hello(bytes);
  EXPECT_CODE(decoded, Code::kUnsupported);
  EXPECT_NE(decoded.error().message.find("version 9"), std::string::npos);
  EXPECT_NE(decoded.error().message.find("speaks 1"), std::string::npos);
}

TEST(Wire, PutComesBack) {
  const std::vector<Granule> granules{make_granule(1),
                                      make_granule(2, {.records = 3, .payload_bytes = 100})};
  const auto payload = payload_of(granules);
  const auto items = wire::decode_put(2, payload);
  ASSERT_OK(items);
  for (size_t i = 0; i < granules.size(); ++i) {
    EXPECT_EQ((*items)[i].info.key, granules[i].info.key);
    EXPECT_EQ((*items)[i].info.first, granules[i].info.first);
    EXPECT_TRUE(std::equal((*items)[i].body.begin(), (*items)[i].body.end(),
                           granules[i].body.begin(), granules[i].body.end()));
  }
}

TEST(Wire, LimitsAreNamed) {
  const auto message = [](const auto& result) {
    return result.has_value() ? std::string() : result.error().message;
  };
  GetItem item = ask(make_granule(1));
  item.payload_bytes = wire::kRecordBytesMax + 1;
  EXPECT_NE(
      message(wire::decode_get(1, wire::encode_get_table({&item, 1}))).find("allowed 1 to 262144"),
      std::string::npos);
  EXPECT_NE(message(wire::decode_get(9000, {})).find("at most 8192"), std::string::npos);
  std::vector<GetItem> much(300, ask(make_granule(1)));
  for (GetItem& one : much) {
    one.bitmap = ~0u;
    one.payload_bytes = 65536;
  }
  EXPECT_NE(message(wire::decode_get(300, wire::encode_get_table(much))).find("at most 67108864"),
            std::string::npos);
  Granule granule = make_granule(1);
  granule.info.records = 33;
  EXPECT_NE(message(wire::check_item(granule.put_item())).find("allowed 1 to 32"),
            std::string::npos);
}

TEST(Wire, EveryCutOfAMessageIsRefused) {
  const auto payload = payload_of({make_granule(1, {.records = 2, .payload_bytes = 40})});
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_FALSE(wire::decode_put(1, std::span(payload).first(size))) << size;
  }
  const auto hello = wire::encode_hello({"g0", {}, {1, 2, 3}});
  for (size_t size = 0; size < hello.size(); ++size) {
    EXPECT_FALSE(wire::decode_hello(std::span(hello).first(size))) << size;
  }
}

TEST(Wire, GetReplyWithUnaskedRecordsIsRefused) {
  const GetItem item = ask(make_granule(1), 0x5);
  GetReply reply;
  reply.items.push_back({0x4, TierKind::kHost});
  ASSERT_OK(wire::decode_get_reply({&item, 1}, wire::encode_get_reply(reply)));
  reply.items[0].present = 0x2;
  EXPECT_CODE(wire::decode_get_reply({&item, 1}, wire::encode_get_reply(reply)), Code::kCorrupt);
  EXPECT_CODE(wire::decode_get_reply({}, wire::encode_get_reply(reply)), Code::kCorrupt);
}

TEST(Wire, NoBytesBreakADecoder) {
  std::mt19937 random(1);
  const auto good_put = payload_of({make_granule(1, {.records = 2, .payload_bytes = 40})});
  const auto good_hello = wire::encode_hello({"g0", {}, {1, 2, 3}});
  const auto good_head = wire::encode_request({wire::Operation::kPut, Epoch{1}, SeqId{2}, 1, 1000});
  const GetItem item = ask(make_granule(1));
  for (int round = 0; round < 20000; ++round) {
    auto bytes = round % 4 == 0 ? good_put : round % 4 == 1 ? good_hello : good_head;
    if (round % 4 == 3) bytes.resize(random() % 100);
    for (int flips = 0; flips < 4 && !bytes.empty(); ++flips)
      bytes[random() % bytes.size()] = std::byte(random());
    (void)wire::decode_hello(bytes);
    (void)wire::decode_request(static_cast<uint16_t>(random() % 8), bytes);
    if (const auto put = wire::decode_put(random() % 4, bytes)) {
      for (const PutItem& decoded : *put) EXPECT_EQ(decoded.body.size(), decoded.info.body_bytes());
    }
    (void)wire::decode_get(random() % 4, bytes);
    (void)wire::decode_keys(random() % 4, bytes);
    (void)wire::decode_put_reply(bytes);
    (void)wire::decode_get_reply({&item, 1}, bytes);
    (void)wire::decode_stat_reply(random() % 4, bytes);
  }
}

}  // namespace
}  // namespace ebb::kvstore
