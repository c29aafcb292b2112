#include "kvstore/listing.h"

#include <array>
#include <charconv>
#include <cstring>

namespace ebb::kvstore {
namespace {

constexpr size_t kCursorBytes = sizeof(GranuleKey) + sizeof(uint32_t);

/// Over the list's name and the key. No secret: it finds mistakes, it keeps nobody out.
uint32_t check_of(const ListQuery& query, const GranuleKey& last) {
  const std::array<uint64_t, 2> list{query.sequence.has_value(),
                                     query.sequence.value_or(SeqId{}).value};
  return crc32c(std::as_bytes(std::span<const GranuleKey, 1>(&last, 1)),
                crc32c(std::as_bytes(std::span(list))));
}

}  // namespace

ListCursor cursor_after(const ListQuery& query, const GranuleKey& last) {
  return {last, check_of(query, last)};
}

Result<void> check_query(const ListQuery& query) {
  if (query.limit == 0 || query.limit > kListLimitMax) {
    return invalid("limit " + std::to_string(query.limit) + ", allowed 1 to " +
                   std::to_string(kListLimitMax));
  }
  if (query.after && query.after->check != check_of(query, query.after->last))
    return invalid("cursor: not one that a store gave for this list");
  return {};
}

std::string to_text(const ListCursor& cursor) {
  std::array<std::byte, kCursorBytes> bytes;
  std::memcpy(bytes.data(), &cursor.last, sizeof cursor.last);
  std::memcpy(bytes.data() + sizeof cursor.last, &cursor.check, sizeof cursor.check);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<size_t>(byte >> 4)];
    text += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

Result<ListCursor> parse_cursor(std::string_view text) {
  const auto refuse = [] {
    return invalid("cursor: expected " + std::to_string(2 * kCursorBytes) + " hexadecimal digits");
  };
  if (text.size() != 2 * kCursorBytes) return refuse();
  std::array<uint8_t, kCursorBytes> bytes;
  for (size_t i = 0; i < kCursorBytes; ++i) {
    const char* from = text.data() + 2 * i;
    if (std::from_chars(from, from + 2, bytes[i], 16).ptr != from + 2) return refuse();
  }
  ListCursor cursor;
  std::memcpy(&cursor.last, bytes.data(), sizeof cursor.last);
  std::memcpy(&cursor.check, bytes.data() + sizeof cursor.last, sizeof cursor.check);
  return cursor;
}

}  // namespace ebb::kvstore
