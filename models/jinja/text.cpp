#include "models/jinja/text.h"

#include <algorithm>
#include <cstring>

#include "models/utf8.h"

namespace ebb::models::jinja {
namespace {

/// What Python's str.isspace() accepts: Unicode's white space and the four separators U+001C to
/// U+001F.
bool is_space(std::string_view character) {
  const char32_t c = utf8_decode(character);
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  if (utf8_sequence_length(character) == 0) return false;
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool breaks_line(std::string_view character) {
  const char first = character[0];
  if (character.size() == 1)
    return (first >= 0x0A && first <= 0x0D) || (first >= 0x1C && first <= 0x1E);
  const char32_t c = utf8_decode(character);
  return c == 0x85 || c == 0x2028 || c == 0x2029;
}

/// The last code point of `text`, which is not empty.
std::string_view last_character(std::string_view text) {
  for (size_t bytes = 2; bytes <= std::min<size_t>(4, text.size()); ++bytes) {
    const std::string_view tail = text.substr(text.size() - bytes);
    if (utf8_sequence_length(tail) == bytes) return tail;
  }
  return text.substr(text.size() - 1);
}

bool contains_character(std::string_view set, std::string_view character) {
  while (!set.empty()) {
    const size_t bytes = character_bytes(set);
    if (set.substr(0, bytes) == character) return true;
    set.remove_prefix(bytes);
  }
  return false;
}

/// Where the code point number `place` begins; the text's size when there are not so many.
size_t byte_offset(std::string_view text, int64_t place) {
  size_t at = 0;
  for (; place > 0 && at < text.size(); --place) at += character_bytes(text.substr(at));
  return at;
}

/// A place as Python means it: negative ones count from the end; cut to [low, high].
int64_t clamp_place(int64_t place, int64_t size, int64_t low, int64_t high) {
  if (place < 0) place = place < -size ? -1 : place + size;
  return std::clamp(place, low, high);
}

}  // namespace

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t character_bytes(std::string_view text) {
  return std::max<size_t>(1, utf8_sequence_length(text));
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += character_bytes(text.substr(at))) ++count;
  return count;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    all.push_back(text.substr(0, character_bytes(text)));
    text.remove_prefix(all.back().size());
  }
  return all;
}

std::string_view character_at(std::string_view text, int64_t place) {
  const auto size = static_cast<int64_t>(count_characters(text));
  if (place < -size || place >= size) return {};
  const size_t at = byte_offset(text, place < 0 ? place + size : place);
  return text.substr(at, character_bytes(text.substr(at)));
}

std::string_view slice(std::string_view text, std::optional<int64_t> begin,
                       std::optional<int64_t> end) {
  const auto size = static_cast<int64_t>(count_characters(text));
  const int64_t first = clamp_place(begin.value_or(0), size, 0, size);
  const int64_t stop = clamp_place(end.value_or(size), size, first, size);
  const size_t from = byte_offset(text, first);
  return text.substr(from, byte_offset(text.substr(from), stop - first));
}

std::string_view strip(std::string_view text, std::optional<std::string_view> set, Sides sides) {
  const auto goes = [&](std::string_view character) {
    return set ? contains_character(*set, character) : is_space(character);
  };
  while (sides != Sides::kRight && !text.empty()) {
    const size_t bytes = character_bytes(text);
    if (!goes(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (sides != Sides::kLeft && !text.empty()) {
    const std::string_view last = last_character(text);
    if (!goes(last)) break;
    text.remove_suffix(last.size());
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    int64_t splits_max) {
  std::vector<std::string_view> parts;
  while (splits_max < 0 || static_cast<int64_t>(parts.size()) < splits_max) {
    const size_t at = find_text(text, separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_at_space(std::string_view text, int64_t splits_max) {
  std::vector<std::string_view> parts;
  text = strip(text, std::nullopt, Sides::kLeft);
  while (!text.empty()) {
    if (splits_max >= 0 && static_cast<int64_t>(parts.size()) == splits_max) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const size_t bytes = character_bytes(text.substr(end));
      if (is_space(text.substr(end, bytes))) break;
      end += bytes;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), std::nullopt, Sides::kLeft);
  }
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text, std::string_view separator,
                                          int64_t splits_max) {
  std::vector<std::string_view> parts;
  while (splits_max < 0 || static_cast<int64_t>(parts.size()) < splits_max) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_right_at_space(std::string_view text, int64_t splits_max) {
  std::vector<std::string_view> parts;
  text = strip(text, std::nullopt, Sides::kRight);
  while (!text.empty()) {
    if (splits_max >= 0 && static_cast<int64_t>(parts.size()) == splits_max) {
      parts.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      const std::string_view last = last_character(text.substr(0, begin));
      if (is_space(last)) break;
      begin -= last.size();
    }
    parts.push_back(text.substr(begin));
    text = strip(text.substr(0, begin), std::nullopt, Sides::kRight);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view character = text.substr(at, character_bytes(text.substr(at)));
    if (!breaks_line(character)) {
      at += character.size();
      continue;
    }
    lines.push_back(text.substr(0, at));
    const bool pair = character == "\r" && text.substr(at + 1).starts_with("\n");
    text.remove_prefix(at + character.size() + (pair ? 1 : 0));
    at = 0;
  }
  if (!text.empty()) lines.push_back(text);
  return lines;
}

size_t count_occurrences(std::string_view text, std::string_view what) {
  size_t count = 0;
  size_t at = find_text(text, what);
  for (; at != text.npos; at = find_text(text, what, at + what.size())) ++count;
  return count;
}

std::string replace(std::string_view text, std::string_view what, std::string_view with,
                    int64_t count) {
  std::string out;
  if (what.empty()) {
    for (; count != 0; --count) {
      out += with;
      if (text.empty()) return out;
      const size_t bytes = character_bytes(text);
      out += text.substr(0, bytes);
      text.remove_prefix(bytes);
    }
    return out += text;
  }
  for (size_t at; count != 0 && (at = find_text(text, what)) != text.npos; --count) {
    out += text.substr(0, at);
    out += with;
    text.remove_prefix(at + what.size());
  }
  return out += text;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Padding centered(size_t characters, int64_t width) {
  if (width <= static_cast<int64_t>(characters)) return {};
  const size_t pad = static_cast<size_t>(width) - characters;
  const size_t left = pad / 2 + (pad & static_cast<size_t>(width) & 1);
  return {left, pad - left};
}

std::vector<size_t> slice_places(size_t size, std::optional<int64_t> begin,
                                 std::optional<int64_t> end, int64_t step) {
  const auto n = static_cast<int64_t>(size);
  const bool up = step > 0;
  const int64_t low = up ? 0 : -1;
  const int64_t high = up ? n : n - 1;
  const int64_t first = begin ? clamp_place(*begin, n, low, high) : (up ? low : high);
  const int64_t stop = end ? clamp_place(*end, n, low, high) : (up ? high : low);
  std::vector<size_t> places;
  // A step beyond the whole length takes one place; cutting it there keeps the sum from
  // overflowing.
  const int64_t stride = std::clamp(step, -n - 1, n + 1);
  for (int64_t at = first; up ? at < stop : at > stop; at += stride) {
    places.push_back(static_cast<size_t>(at));
  }
  return places;
}

}  // namespace ebb::models::jinja
