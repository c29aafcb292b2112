#include "models/tokenizer/byte_level.h"

#include "models/utf8.h"

namespace ebb::models {
namespace {

/// Printable in Latin-1: the soft hyphen (0xAD) and the no-break space (0xA0) are not.
constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

}  // namespace

ByteAlphabet::ByteAlphabet() {
  byte_of_code_point_.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t code_point = stands_for_itself(byte) ? byte : next++;
    byte_of_code_point_[code_point] = static_cast<int16_t>(byte);
    utf8_append(text_of_byte_[byte], code_point);
  }
}

std::optional<std::string> ByteAlphabet::bytes_of(std::string_view entry) const {
  std::string bytes;
  while (!entry.empty()) {
    const size_t length = utf8_sequence_length(entry);
    if (length == 0) return std::nullopt;
    const char32_t code_point = utf8_decode(entry);
    if (code_point >= kCodePoints || byte_of_code_point_[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte_of_code_point_[code_point]));
    entry.remove_prefix(length);
  }
  return bytes;
}

}  // namespace ebb::models
