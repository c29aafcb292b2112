// The bytes that a client and a store exchange inside a messenger's messages (docs/formats.md).
// Pure: encodes and decodes, knows no sockets. Everything decoded was checked against the limits
// below: a store may trust it.
//
//   request  header: RequestHead
//            payload: table of items, then (put) the bodies, in order; of a list: the query
//   reply    header: ReplyHead, then a table
//            payload: (get) the present frames, in order, without gaps
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "kvstore/granule.h"
#include "kvstore/requests.h"

namespace ebb::kvstore::wire {

constexpr uint32_t kMagic = 0x564b4245;  ///< "EBKV"
constexpr uint16_t kVersion = 1;
/// of one message: a get's reply table must fit a messenger header
constexpr uint32_t kItemsMax = 8192;
constexpr uint32_t kRecordsMax = 32;             ///< of one granule: bits of a bitmap
constexpr uint32_t kRecordBytesMax = 256 << 10;  ///< payload of one record
constexpr uint32_t kBandsMax = 512;
constexpr uint64_t kMessageBytesMax = 64 * kMiB;  ///< payload of one message
constexpr uint64_t kHelloBytesMax = 4 * kKiB;

enum class Operation : uint16_t { kPut = 1, kGet = 2, kDrop = 3, kStat = 4, kFlush = 5, kList = 6 };
const char* operation_name(Operation operation);

/// What a client says about itself when it connects.
struct Hello {
  std::string group;  ///< at most 64 characters
  Digest layout;
  std::vector<uint32_t> record_bytes;  ///< payload bytes by band
};
std::vector<std::byte> encode_hello(const Hello& hello);
/// Errors: kInvalid (names the field), kUnsupported (another version: names both).
Result<Hello> decode_hello(std::span<const std::byte> bytes);

struct RequestHead {
  Operation operation = Operation::kGet;
  Epoch epoch;               ///< must be the one of the connection's hello
  SeqId holder;              ///< of put, drop, and a list of one sequence
  uint32_t items = 0;        ///< of the table; of a list: at most so many in the answer
  uint32_t deadline_ms = 0;  ///< the asker gives up after this long
};
std::vector<std::byte> encode_request(const RequestHead& head);
/// `operation` is what the messenger says was asked. Errors: kInvalid, kUnsupported.
Result<RequestHead> decode_request(uint16_t operation, std::span<const std::byte> header);

std::vector<std::byte> encode_put_table(std::span<const PutItem> items);
std::vector<std::byte> encode_get_table(std::span<const GetItem> items);
std::vector<std::byte> encode_keys(std::span<const GranuleKey> keys);
/// The sequence and the limit travel in the head (`holder`, `items`).
std::vector<std::byte> encode_list_query(const ListQuery& query);

/// Bodies point into `payload`. Checks sizes and counts, not the records. Errors: kInvalid with
/// item and limit.
Result<std::vector<PutItem>> decode_put(uint32_t items, std::span<const std::byte> payload);
Result<std::vector<GetItem>> decode_get(uint32_t items, std::span<const std::byte> payload);
Result<std::vector<GranuleKey>> decode_keys(uint32_t items, std::span<const std::byte> payload);
Result<ListQuery> decode_list_query(const RequestHead& head, std::span<const std::byte> payload);

/// Limits of one item, as the decoders check them; the client checks before it sends.
Result<void> check_item(const PutItem& item);
Result<void> check_item(const GetItem& item);

std::vector<std::byte> encode_put_reply(const PutReply& reply);
std::vector<std::byte> encode_get_reply(const GetReply& reply);
std::vector<std::byte> encode_stat_reply(std::span<const StatItem> items);
std::vector<std::byte> encode_list_reply(const ListPage& page);
std::vector<std::byte> encode_empty_reply(Operation operation);

/// Errors: kCorrupt (a reply that no store of this version sends).
Result<PutReply> decode_put_reply(std::span<const std::byte> header);
/// Checks that nothing is present that was not asked for. Items count as asked.
Result<GetReply> decode_get_reply(std::span<const GetItem> asked,
                                  std::span<const std::byte> header);
Result<std::vector<StatItem>> decode_stat_reply(uint32_t items, std::span<const std::byte> header);
/// Checks that the page answers `asked`: no more items, ascending keys behind its cursor.
Result<ListPage> decode_list_reply(const ListQuery& asked, std::span<const std::byte> header);
Result<void> decode_empty_reply(Operation operation, std::span<const std::byte> header);

}  // namespace ebb::kvstore::wire
