#include "kvstore/wire.h"

#include <array>
#include <cstring>
#include <type_traits>

#include "kvstore/listing.h"

namespace ebb::kvstore::wire {
namespace {

constexpr uint64_t kPutItemBytes = 36;
constexpr uint64_t kGetItemBytes = 36;
constexpr uint64_t kGotItemBytes = 5;
constexpr uint64_t kStatItemBytes = 2;
constexpr uint64_t kListItemBytes = 40;
constexpr uint64_t kRequestHeadBytes = 32;
constexpr uint64_t kReplyHeadBytes = 20;
constexpr uint64_t kGroupNameMax = 64;
static_assert(kReplyHeadBytes + kItemsMax * kGotItemBytes <= 60 << 10,
              "a reply's table fits a message header");
static_assert(kReplyHeadBytes + kListLimitMax * kListItemBytes <= 60 << 10);
static_assert(kHelloBytesMax >= 4 + 2 + 2 + kGroupNameMax + 16 + 4 + 4 * uint64_t{kBandsMax});

/// Appends integers and structs without padding, as they lie in memory (little-endian machines
/// only).
class Writer {
 public:
  explicit Writer(uint64_t reserve) { bytes_.reserve(reserve); }
  template <class T>
  Writer& add(const T& value) {
    static_assert(std::has_unique_object_representations_v<T>);
    return add_bytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  Writer& add_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads what Writer wrote. Reading past the end yields zeros and is remembered in `short_`.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  T take() {
    T value{};
    const auto from = take_bytes(sizeof(T));
    if (from.size() == sizeof(T)) std::memcpy(&value, from.data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> take_bytes(uint64_t count) {
    if (count > bytes_.size()) {
      short_ = true;
      bytes_ = {};
      return {};
    }
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  uint64_t left() const { return bytes_.size(); }
  bool was_short() const { return short_; }
  bool exact() const { return !short_ && bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
  bool short_ = false;
};

Error other_version(const char* what, uint16_t theirs) {
  return unsupported(std::string(what) + ": kvstore protocol version " + std::to_string(theirs) +
                     ", this build speaks " + std::to_string(kVersion));
}

std::string item_text(uint32_t index, const Error& error) {
  return "item " + std::to_string(index) + ": " + error.message;
}

Result<void> check_record_bytes(const GranuleKey& key, uint32_t payload_bytes) {
  if (payload_bytes == 0 || payload_bytes > kRecordBytesMax) {
    return invalid(to_text(key) + ": payload_bytes " + std::to_string(payload_bytes) +
                   ", allowed 1 to " + std::to_string(kRecordBytesMax));
  }
  return {};
}

Result<void> check_count(const char* what, uint64_t items, uint64_t payload, uint64_t item_bytes) {
  if (items > kItemsMax) {
    return invalid(std::string(what) + ": " + std::to_string(items) + " items, at most " +
                   std::to_string(kItemsMax));
  }
  if (payload < items * item_bytes) {
    return invalid(std::string(what) + ": payload of " + std::to_string(payload) +
                   " bytes is too short for " + std::to_string(items) + " items");
  }
  return {};
}

}  // namespace

const char* operation_name(Operation operation) {
  switch (operation) {
    case Operation::kPut:
      return "put";
    case Operation::kGet:
      return "get";
    case Operation::kDrop:
      return "drop";
    case Operation::kStat:
      return "stat";
    case Operation::kFlush:
      return "flush";
    case Operation::kList:
      return "list";
  }
  return "unknown";
}

std::vector<std::byte> encode_hello(const Hello& hello) {
  Writer out(kHelloBytesMax);
  out.add(kMagic).add(kVersion).add(static_cast<uint16_t>(hello.group.size()));
  out.add_bytes(std::as_bytes(std::span(hello.group))).add(hello.layout.bytes);
  out.add(static_cast<uint32_t>(hello.record_bytes.size()));
  for (uint32_t bytes : hello.record_bytes) out.add(bytes);
  return out.take();
}

Result<Hello> decode_hello(std::span<const std::byte> bytes) {
  if (bytes.size() > kHelloBytesMax) return invalid("hello: longer than 4096 bytes");
  Reader in(bytes);
  if (in.take<uint32_t>() != kMagic) return invalid("hello: not that of a kvstore client");
  if (const auto version = in.take<uint16_t>(); version != kVersion)
    return other_version("hello", version);
  Hello hello;
  const auto group = in.take_bytes(in.take<uint16_t>());
  if (group.empty() || group.size() > kGroupNameMax) {
    return invalid("hello: group name of " + std::to_string(group.size()) +
                   " characters, allowed 1 to " + std::to_string(kGroupNameMax));
  }
  hello.group.assign(reinterpret_cast<const char*>(group.data()), group.size());
  hello.layout.bytes = in.take<std::array<uint8_t, 16>>();
  const auto bands = in.take<uint32_t>();
  if (bands > kBandsMax) {
    return invalid("hello: " + std::to_string(bands) + " bands, at most " +
                   std::to_string(kBandsMax));
  }
  for (uint32_t band = 0; band < bands; ++band) {
    hello.record_bytes.push_back(in.take<uint32_t>());
    if (hello.record_bytes.back() > kRecordBytesMax) {
      return invalid("hello: band " + std::to_string(band) + ": record_bytes " +
                     std::to_string(hello.record_bytes.back()) + ", at most " +
                     std::to_string(kRecordBytesMax));
    }
  }
  if (!in.exact()) return invalid("hello: its length does not fit its fields");
  return hello;
}

std::vector<std::byte> encode_request(const RequestHead& head) {
  Writer out(kRequestHeadBytes);
  out.add(kMagic).add(kVersion).add(static_cast<uint16_t>(head.operation));
  out.add(head.epoch.value).add(head.holder.value).add(head.items).add(head.deadline_ms);
  return out.take();
}

Result<RequestHead> decode_request(uint16_t operation, std::span<const std::byte> header) {
  Reader in(header);
  if (in.take<uint32_t>() != kMagic) return invalid("request: not one for a kvstore");
  if (const auto version = in.take<uint16_t>(); version != kVersion)
    return other_version("request", version);
  const auto named = in.take<uint16_t>();
  if (named != operation || named < 1 || named > static_cast<uint16_t>(Operation::kList)) {
    return invalid("request: unknown operation " + std::to_string(named));
  }
  RequestHead head;
  head.operation = static_cast<Operation>(named);
  head.epoch.value = in.take<uint64_t>();
  head.holder.value = in.take<uint64_t>();
  head.items = in.take<uint32_t>();
  head.deadline_ms = in.take<uint32_t>();
  if (!in.exact()) return invalid("request: header of " + std::to_string(header.size()) + " bytes");
  return head;
}

std::vector<std::byte> encode_put_table(std::span<const PutItem> items) {
  Writer out(items.size() * kPutItemBytes);
  for (const PutItem& item : items) {
    out.add(item.info.key).add(item.info.first).add(item.info.records).add(uint16_t{0});
    out.add(item.info.payload_bytes);
  }
  return out.take();
}

std::vector<std::byte> encode_get_table(std::span<const GetItem> items) {
  Writer out(items.size() * kGetItemBytes);
  for (const GetItem& item : items) {
    out.add(item.key).add(item.first).add(item.payload_bytes).add(item.bitmap);
  }
  return out.take();
}

std::vector<std::byte> encode_keys(std::span<const GranuleKey> keys) {
  Writer out(keys.size_bytes());
  out.add_bytes(std::as_bytes(keys));
  return out.take();
}

Result<void> check_item(const PutItem& item) {
  const GranuleInfo& info = item.info;
  if (info.records == 0 || info.records > kRecordsMax) {
    return invalid(to_text(info.key) + ": records " + std::to_string(info.records) +
                   ", allowed 1 to " + std::to_string(kRecordsMax));
  }
  EBB_TRY_VOID(check_record_bytes(info.key, info.payload_bytes));
  if (info.first > UINT32_MAX - info.records) {
    return invalid(to_text(info.key) + ": first position " + std::to_string(info.first) +
                   " is out of range");
  }
  if (item.body.size() != info.body_bytes()) {
    return invalid(to_text(info.key) + ": body of " + std::to_string(item.body.size()) +
                   " bytes, its records need " + std::to_string(info.body_bytes()));
  }
  return {};
}

Result<void> check_item(const GetItem& item) {
  if (item.first > UINT32_MAX - kRecordsMax) {
    return invalid(to_text(item.key) + ": first position " + std::to_string(item.first) +
                   " is out of range");
  }
  return check_record_bytes(item.key, item.payload_bytes);
}

Result<std::vector<PutItem>> decode_put(uint32_t items, std::span<const std::byte> payload) {
  EBB_TRY_VOID(check_count("put", items, payload.size(), kPutItemBytes));
  Reader in(payload);
  std::vector<PutItem> decoded(items);
  for (PutItem& item : decoded) {
    item.info.key = in.take<GranuleKey>();
    item.info.first = in.take<Position>();
    item.info.records = in.take<uint16_t>();
    in.take<uint16_t>();
    item.info.payload_bytes = in.take<uint32_t>();
  }
  for (uint32_t i = 0; i < items; ++i) {
    // Records and payload_bytes are checked after taking: neither can overflow the product.
    decoded[i].body = in.take_bytes(decoded[i].info.body_bytes());
    if (in.was_short()) return invalid("put: item " + std::to_string(i) + ": its body is cut off");
    if (auto checked = check_item(decoded[i]); !checked)
      return invalid("put: " + item_text(i, checked.error()));
  }
  if (!in.exact())
    return invalid("put: " + std::to_string(in.left()) + " bytes after the last body");
  return decoded;
}

Result<std::vector<GetItem>> decode_get(uint32_t items, std::span<const std::byte> payload) {
  EBB_TRY_VOID(check_count("get", items, payload.size(), kGetItemBytes));
  Reader in(payload);
  std::vector<GetItem> decoded(items);
  uint64_t reply_bytes = 0;
  for (uint32_t i = 0; i < items; ++i) {
    GetItem& item = decoded[i];
    item.key = in.take<GranuleKey>();
    item.first = in.take<Position>();
    item.payload_bytes = in.take<uint32_t>();
    item.bitmap = in.take<uint32_t>();
    if (auto checked = check_item(item); !checked)
      return invalid("get: " + item_text(i, checked.error()));
    reply_bytes += item.asked_bytes();
  }
  if (!in.exact())
    return invalid("get: " + std::to_string(in.left()) + " bytes after the last item");
  if (reply_bytes > kMessageBytesMax) {
    return invalid("get: the reply would have " + std::to_string(reply_bytes) + " bytes, at most " +
                   std::to_string(kMessageBytesMax));
  }
  return decoded;
}

Result<std::vector<GranuleKey>> decode_keys(uint32_t items, std::span<const std::byte> payload) {
  EBB_TRY_VOID(check_count("stat", items, payload.size(), sizeof(GranuleKey)));
  Reader in(payload);
  std::vector<GranuleKey> keys(items);
  for (GranuleKey& key : keys) key = in.take<GranuleKey>();
  if (!in.exact())
    return invalid("stat: " + std::to_string(in.left()) + " bytes after the last key");
  return keys;
}

namespace {

enum class ListScope : uint16_t { kAll = 0, kSequence = 1 };

}  // namespace

std::vector<std::byte> encode_list_query(const ListQuery& query) {
  const ListCursor after = query.after.value_or(ListCursor{});
  Writer out(2 + 2 + sizeof(uint32_t) + sizeof(GranuleKey));
  out.add(query.sequence ? ListScope::kSequence : ListScope::kAll);
  out.add(static_cast<uint16_t>(query.after ? 1 : 0)).add(after.check).add(after.last);
  return out.take();
}

Result<ListQuery> decode_list_query(const RequestHead& head, std::span<const std::byte> payload) {
  Reader in(payload);
  const auto scope = in.take<uint16_t>();
  const auto has_cursor = in.take<uint16_t>();
  const auto check = in.take<uint32_t>();
  const ListCursor after{in.take<GranuleKey>(), check};
  if (!in.exact()) return invalid("list: payload of " + std::to_string(payload.size()) + " bytes");
  if (scope > static_cast<uint16_t>(ListScope::kSequence))
    return invalid("list: unknown scope " + std::to_string(scope));
  if (has_cursor > 1 || (has_cursor == 0 && after != ListCursor{}))
    return invalid("list: cursor: neither there nor absent");
  ListQuery query;
  query.limit = head.items;
  if (scope == static_cast<uint16_t>(ListScope::kSequence)) query.sequence = head.holder;
  if (has_cursor == 1) query.after = after;
  if (auto checked = check_query(query); !checked) return with_context("list", checked.error());
  return query;
}

// ---- replies

namespace {

struct ReplyHead {
  uint32_t items = 0, a = 0, b = 0;
};

Writer reply_writer(Operation operation, const ReplyHead& head, uint64_t table_bytes) {
  Writer out(kReplyHeadBytes + table_bytes);
  out.add(kMagic).add(kVersion).add(static_cast<uint16_t>(operation));
  out.add(head.items).add(head.a).add(head.b);
  return out;
}

Result<ReplyHead> take_reply_head(Operation operation, uint64_t item_bytes, Reader& in) {
  const auto magic = in.take<uint32_t>();
  const auto version = in.take<uint16_t>();
  const auto named = in.take<uint16_t>();
  ReplyHead head;
  head.items = in.take<uint32_t>();
  head.a = in.take<uint32_t>();
  head.b = in.take<uint32_t>();
  if (in.was_short() || magic != kMagic || version != kVersion ||
      named != static_cast<uint16_t>(operation) || in.left() != head.items * item_bytes) {
    return corrupt(std::string(operation_name(operation)) + ": the store's reply is malformed");
  }
  return head;
}

}  // namespace

std::vector<std::byte> encode_put_reply(const PutReply& reply) {
  return reply_writer(Operation::kPut, {0, reply.accepted, reply.already_there}, 0).take();
}

std::vector<std::byte> encode_get_reply(const GetReply& reply) {
  const auto items = static_cast<uint32_t>(reply.items.size());
  Writer out = reply_writer(Operation::kGet, {items, reply.corrupt, 0}, items * kGotItemBytes);
  for (const GotItem& item : reply.items)
    out.add(item.present).add(static_cast<uint8_t>(item.from));
  return out.take();
}

std::vector<std::byte> encode_stat_reply(std::span<const StatItem> items) {
  Writer out = reply_writer(Operation::kStat, {static_cast<uint32_t>(items.size()), 0, 0},
                            items.size() * kStatItemBytes);
  for (const StatItem& item : items) {
    out.add(static_cast<uint8_t>(item.tier)).add(static_cast<uint8_t>(item.durable ? 1 : 0));
  }
  return out.take();
}

namespace {

enum ListFlags : uint8_t { kOnHost = 1, kOnSsd = 2, kDurable = 4, kAllListFlags = 7 };

uint8_t list_flags(const ListItem& item) {
  return static_cast<uint8_t>((item.on_host ? kOnHost : 0) | (item.on_ssd ? kOnSsd : 0) |
                              (item.durable ? kDurable : 0));
}

/// A granule that a store can have, in a tier.
bool is_sound(const GranuleInfo& info, uint8_t flags) {
  return info.records >= 1 && info.records <= kRecordsMax && info.payload_bytes >= 1 &&
         info.payload_bytes <= kRecordBytesMax && info.first <= UINT32_MAX - info.records &&
         (flags & (kOnHost | kOnSsd)) != 0 && (flags & ~kAllListFlags) == 0;
}

}  // namespace

std::vector<std::byte> encode_list_reply(const ListPage& page) {
  const ReplyHead head{static_cast<uint32_t>(page.items.size()), page.next ? 1u : 0u,
                       page.next ? page.next->check : 0};
  Writer out = reply_writer(Operation::kList, head, page.items.size() * kListItemBytes);
  for (const ListItem& item : page.items) {
    out.add(item.info.key).add(item.info.first).add(item.info.payload_bytes);
    out.add(item.info.records).add(list_flags(item)).add(uint8_t{0}).add(item.holders);
  }
  return out.take();
}

std::vector<std::byte> encode_empty_reply(Operation operation) {
  return reply_writer(operation, {}, 0).take();
}

Result<PutReply> decode_put_reply(std::span<const std::byte> header) {
  Reader in(header);
  const ReplyHead head = EBB_TRY(take_reply_head(Operation::kPut, 0, in));
  return PutReply{head.a, head.b};
}

Result<GetReply> decode_get_reply(std::span<const GetItem> asked,
                                  std::span<const std::byte> header) {
  Reader in(header);
  const ReplyHead head = EBB_TRY(take_reply_head(Operation::kGet, kGotItemBytes, in));
  if (head.items != asked.size()) return corrupt("get: the store answered another number of items");
  GetReply reply;
  reply.corrupt = head.a;
  for (const GetItem& item : asked) {
    GotItem got;
    got.present = in.take<uint32_t>();
    const auto tier = in.take<uint8_t>();
    if ((got.present & ~item.bitmap) != 0 || tier > static_cast<uint8_t>(TierKind::kSsd)) {
      return corrupt("get: the store answered records that were not asked for");
    }
    got.from = static_cast<TierKind>(tier);
    reply.items.push_back(got);
  }
  return reply;
}

Result<std::vector<StatItem>> decode_stat_reply(uint32_t items, std::span<const std::byte> header) {
  Reader in(header);
  const ReplyHead head = EBB_TRY(take_reply_head(Operation::kStat, kStatItemBytes, in));
  if (head.items != items) return corrupt("stat: the store answered another number of items");
  std::vector<StatItem> decoded(items);
  for (StatItem& item : decoded) {
    const auto tier = in.take<uint8_t>();
    if (tier > static_cast<uint8_t>(TierKind::kSsd))
      return corrupt("stat: unknown tier in the store's reply");
    item.tier = static_cast<TierKind>(tier);
    item.durable = in.take<uint8_t>() != 0;
  }
  return decoded;
}

Result<ListPage> decode_list_reply(const ListQuery& asked, std::span<const std::byte> header) {
  Reader in(header);
  const ReplyHead head = EBB_TRY(take_reply_head(Operation::kList, kListItemBytes, in));
  if (head.items > asked.limit || head.a > 1 || (head.a == 1 && head.items == 0))
    return corrupt("list: the store answered another number of granules");
  ListPage page;
  std::optional<GranuleKey> last;
  if (asked.after) last = asked.after->last;
  for (uint32_t i = 0; i < head.items; ++i) {
    ListItem item;
    item.info.key = in.take<GranuleKey>();
    item.info.first = in.take<Position>();
    item.info.payload_bytes = in.take<uint32_t>();
    item.info.records = in.take<uint16_t>();
    const auto flags = in.take<uint8_t>();
    in.take<uint8_t>();
    item.holders = in.take<uint32_t>();
    if (!is_sound(item.info, flags)) return corrupt("list: the store answered no granule");
    if (last && item.info.key <= *last) return corrupt("list: the store's keys do not ascend");
    last = item.info.key;
    item.on_host = (flags & kOnHost) != 0;
    item.on_ssd = (flags & kOnSsd) != 0;
    item.durable = (flags & kDurable) != 0;
    page.items.push_back(item);
  }
  if (head.a == 1) page.next = ListCursor{*last, head.b};
  return page;
}

Result<void> decode_empty_reply(Operation operation, std::span<const std::byte> header) {
  Reader in(header);
  EBB_TRY(take_reply_head(operation, 0, in));
  return {};
}

}  // namespace ebb::kvstore::wire

namespace ebb::kvstore {

uint64_t get_destination_bytes(std::span<const GetItem> items) {
  uint64_t bytes = 0;
  for (const GetItem& item : items) bytes += item.asked_bytes();
  return bytes;
}

}  // namespace ebb::kvstore
