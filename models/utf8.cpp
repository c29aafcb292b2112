#include "models/utf8.h"

#include <algorithm>
#include <cstring>

namespace ebb::models {
namespace {

constexpr bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Length that a lead byte announces, and the range that its second byte must lie in: the narrow
/// ranges after E0, ED, F0 and F4 are what excludes long forms, surrogates and values above
/// U+10FFFF.
struct Lead {
  size_t length = 0;
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

constexpr Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

/// Bytes of the part of a sequence that `bytes` begins with, which is not a whole one; 1 when no
/// sequence begins so.
size_t well_begun(std::string_view bytes) {
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const Lead lead = lead_of(byte_at(0));
  if (lead.length < 2 || bytes.size() < 2) return 1;
  if (byte_at(1) < lead.second_min || byte_at(1) > lead.second_max) return 1;
  size_t n = 2;
  while (n < std::min(lead.length, bytes.size()) && is_continuation(byte_at(n))) ++n;
  return n;
}

}  // namespace

size_t utf8_sequence_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const Lead lead = lead_of(byte_at(0));
  if (lead.length == 0 || lead.length > text.size()) return 0;
  if (lead.length == 1) return 1;
  if (byte_at(1) < lead.second_min || byte_at(1) > lead.second_max) return 0;
  for (size_t i = 2; i < lead.length; ++i) {
    if (!is_continuation(byte_at(i))) return 0;
  }
  return lead.length;
}

size_t utf8_valid_prefix(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    if (text.size() - at >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & kHighBits) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const size_t length = utf8_sequence_length(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

size_t utf8_white_space(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return first == ' ' || (first >= 0x09 && first <= 0x0D) ? 1 : 0;
  if (first != 0xC2 && (first < 0xE1 || first > 0xE3)) return 0;
  const size_t length = utf8_sequence_length(text);
  if (length == 0) return 0;
  const char32_t c = utf8_decode(text);
  const bool is_space = c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
                        c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
  return is_space ? length : 0;
}

std::string utf8_replaced(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t valid = utf8_valid_prefix(bytes);
    text += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    text += "\xEF\xBF\xBD";
    bytes.remove_prefix(well_begun(bytes));
  }
  return text;
}

char32_t utf8_decode(std::string_view text) {
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = utf8_sequence_length(text);
  if (length <= 1) return byte_at(0);
  char32_t code_point = byte_at(0) & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) code_point = (code_point << 6) | (byte_at(i) & 0x3Fu);
  return code_point;
}

void utf8_append(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto put_continuation = [&](int shift) { put(0x80 | ((code_point >> shift) & 0x3F)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put_continuation(6);
  } else {
    put(0xF0 | (code_point >> 18));
    put_continuation(12);
    put_continuation(6);
  }
  put_continuation(0);
}

}  // namespace ebb::models
