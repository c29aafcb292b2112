// What travels between client and store comes back the same, and no byte string breaks a decoder.
#include "kvstore/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "kvstore/listing.h"
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

/// What decode_list_query makes of a query that was encoded.
Result<ListQuery> list_request(const ListQuery& query, std::vector<std::byte> payload) {
  const wire::RequestHead head{wire::Operation::kList, Epoch{1}, query.sequence.value_or(SeqId{}),
                               query.limit, 1000};
  return wire::decode_list_query(head, payload);
}

TEST(Wire, AListQueryComesBack) {
  ListQuery query;
  query.sequence = SeqId{7};
  query.limit = 12;
  query.after = cursor_after(query, make_granule(3).info.key);
  const auto decoded = list_request(query, wire::encode_list_query(query));
  ASSERT_OK(decoded);
  EXPECT_EQ(decoded->sequence, query.sequence);
  EXPECT_EQ(decoded->after, query.after);
  EXPECT_EQ(decoded->limit, 12u);
  const auto everything = list_request({}, wire::encode_list_query({}));
  ASSERT_OK(everything);
  EXPECT_FALSE(everything->sequence || everything->after);
}

TEST(Wire, EveryBadListQueryIsRefused) {
  ListQuery query;
  query.after = cursor_after(query, make_granule(3).info.key);
  const auto good = wire::encode_list_query(query);
  for (size_t at = 0; at < good.size(); ++at) {
    auto bad = good;
    bad[at] ^= std::byte{1};
    EXPECT_CODE(list_request(query, bad), Code::kInvalid);
    EXPECT_CODE(list_request(query, {good.begin(), good.begin() + at}), Code::kInvalid);
  }
  auto longer = good;
  longer.push_back({});
  EXPECT_CODE(list_request(query, longer), Code::kInvalid);
  for (const uint32_t limit : {0u, kListLimitMax + 1, UINT32_MAX}) {
    query.limit = limit;
    const auto refused = list_request(query, good);
    EXPECT_CODE(refused, Code::kInvalid);
    EXPECT_NE(refused.error().message.find("allowed 1 to 1024"), std::string::npos);
  }
}

ListPage page_of(std::vector<Granule> granules) {
  std::sort(granules.begin(), granules.end(),
            [](const Granule& a, const Granule& b) { return a.info.key < b.info.key; });
  ListPage page;
  for (const Granule& granule : granules) page.items.push_back({granule.info, true, true, true, 3});
  return page;
}

TEST(Wire, AListPageComesBack) {
  ListPage page = page_of({make_granule(1), make_granule(2, {.records = 3, .payload_bytes = 100})});
  page.items[0].on_ssd = page.items[0].durable = false;
  page.next = cursor_after({}, page.items[1].info.key);
  const auto decoded = wire::decode_list_reply({}, wire::encode_list_reply(page));
  ASSERT_OK(decoded);
  ASSERT_EQ(decoded->items.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const ListItem &there = decoded->items[i], &sent = page.items[i];
    EXPECT_EQ(there.info.key, sent.info.key);
    EXPECT_EQ(there.info.first, sent.info.first);
    EXPECT_EQ(there.info.body_bytes(), sent.info.body_bytes());
    EXPECT_EQ(there.on_ssd, sent.on_ssd);
    EXPECT_EQ(there.durable, sent.durable);
    EXPECT_EQ(there.holders, 3u);
  }
  EXPECT_EQ(decoded->next, page.next);
  ASSERT_OK(check_query({.after = decoded->next}));
}

TEST(Wire, AListPageThatIsNoAnswerIsRefused) {
  const ListPage page = page_of({make_granule(1), make_granule(2)});
  const auto refused = [](const ListQuery& asked, const ListPage& answer) {
    EXPECT_CODE(wire::decode_list_reply(asked, wire::encode_list_reply(answer)), Code::kCorrupt);
  };
  refused({.limit = 1}, page);
  refused({.after = cursor_after({}, page.items[0].info.key)}, page);
  ListPage wrong = page;
  std::swap(wrong.items[0], wrong.items[1]);
  refused({}, wrong);
  wrong = page;
  wrong.items[1] = wrong.items[0];
  refused({}, wrong);
  wrong = page;
  wrong.items[0].on_host = wrong.items[0].on_ssd = false;
  refused({}, wrong);
  wrong = page;
  wrong.items[1].info.records = 33;
  refused({}, wrong);
  wrong.items.clear();
  wrong.next = ListCursor{};
  refused({}, wrong);
}

TEST(Wire, NoBytesBreakADecoder) {
  std::mt19937 random(1);
  const auto good_put = payload_of({make_granule(1, {.records = 2, .payload_bytes = 40})});
  const auto good_hello = wire::encode_hello({"g0", {}, {1, 2, 3}});
  const auto good_page = wire::encode_list_reply(page_of({make_granule(1), make_granule(2)}));
  const auto good_head = wire::encode_request({wire::Operation::kPut, Epoch{1}, SeqId{2}, 1, 1000});
  const GetItem item = ask(make_granule(1));
  for (int round = 0; round < 20000; ++round) {
    auto bytes = round % 5 == 4   ? good_page
                 : round % 4 == 0 ? good_put
                 : round % 4 == 1 ? good_hello
                                  : good_head;
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
    (void)list_request({.limit = 1}, bytes);
    (void)wire::decode_list_reply({}, bytes);
  }
}

}  // namespace
}  // namespace ebb::kvstore
