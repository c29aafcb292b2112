#include "models/shown_text.h"

#include <algorithm>

#include "models/utf8.h"

namespace ebb::models {
namespace {

constexpr size_t kShownBytesMax = 80;

/// Where to cut, so that no code point is torn.
size_t cut_at(std::string_view bytes) {
  if (bytes.size() <= kShownBytesMax) return bytes.size();
  size_t at = kShownBytesMax;
  for (int i = 0; i < 3 && (static_cast<unsigned char>(bytes[at]) & 0xC0) == 0x80; ++i) --at;
  return at;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

}  // namespace

std::string shown_text(std::string_view bytes) {
  const size_t cut = cut_at(bytes);
  std::string text = utf8_replaced(bytes.substr(0, cut));
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return cut == bytes.size() ? text : text + "...";
}

std::string quoted_text(std::string_view bytes) { return "'" + shown_text(bytes) + "'"; }

}  // namespace ebb::models
