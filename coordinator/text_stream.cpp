#include "coordinator/text_stream.h"

#include <algorithm>

#include "models/utf8.h"

namespace ebb::coordinator {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

/// Bytes of a sequence that begins with `lead`; 0: none does.
size_t sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// The second byte excludes overlong forms, surrogates and code points above U+10FFFF (Unicode 15,
/// table 3-7).
bool may_be_second(uint8_t lead, uint8_t second) {
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  return second >= low && second <= high;
}

/// Bytes at the beginning of `text` that agree with one sequence: all of it, or a part.
size_t well_begun(std::string_view text) {
  const size_t length = sequence_length(byte_at(text, 0));
  if (length == 0) return 0;
  size_t n = 1;
  while (n < length && n < text.size()) {
    const uint8_t byte = byte_at(text, n);
    const bool fits = n == 1 ? may_be_second(byte_at(text, 0), byte) : (byte & 0xC0) == 0x80;
    if (!fits) break;
    ++n;
  }
  return n;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops, StopText stop_text)
    : stops_(std::move(stops)), stop_text_(stop_text) {
  std::erase(stops_, std::string());
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) return {};
  pending_ += bytes;
  size_t first = std::string::npos, size = 0;
  for (const std::string& stop : stops_) {
    const size_t at = pending_.find(stop);
    if (at >= first) continue;
    first = at;
    size = stop.size();
  }
  if (first != std::string::npos) {
    if (stop_text_ == StopText::kKept) first += size;
    std::string text = release(first, Tail::kEnds);
    stopped_ = true;
    pending_.clear();
    return text;
  }
  return release(pending_.size() - possible_stop(), Tail::kMayContinue);
}

std::string TextStream::pass(std::string_view bytes) {
  if (stopped_) return {};
  pending_ += bytes;
  return release(pending_.size(), Tail::kMayContinue);
}

std::string TextStream::finish() { return release(pending_.size(), Tail::kEnds); }

/// Bytes at the end of pending_ that begin a stop string.
size_t TextStream::possible_stop() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    const size_t most = std::min(stop.size() - 1, pending_.size());
    for (size_t n = most; n > longest; --n) {
      if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

std::string TextStream::release(size_t count, Tail tail) {
  std::string text;
  const std::string_view view = std::string_view(pending_).substr(0, count);
  size_t at = 0;
  while (at < view.size()) {
    const std::string_view rest = view.substr(at);
    const size_t n = well_begun(rest);
    if (n > 0 && n == sequence_length(byte_at(rest, 0))) {
      text += rest.substr(0, n);
      at += n;
      continue;
    }
    if (n == rest.size() && tail == Tail::kMayContinue) break;
    text += kReplacement;
    at += std::max<size_t>(n, 1);
  }
  pending_.erase(0, at);
  released_ += at;
  return text;
}

std::string valid_utf8(std::string_view bytes) {
  TextStream stream({});
  std::string text = stream.push(bytes);
  return text += stream.finish();
}

std::string token_label(std::string_view bytes) {
  if (models::utf8_valid_prefix(bytes) == bytes.size()) return std::string(bytes);
  static const char* kDigits = "0123456789abcdef";
  std::string label = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    label += "\\x";
    label += kDigits[byte >> 4];
    label += kDigits[byte & 15];
  }
  return label;
}

uint32_t code_points(std::string_view bytes) {
  return static_cast<uint32_t>(std::count_if(
      bytes.begin(), bytes.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

}  // namespace ebb::coordinator
