// The alphabet of byte-level BPE (GPT-2): vocabularies are stored as printable text in which each
// byte has a code point of its own. The 188 bytes that are printable in Latin-1 stand for
// themselves; the other 68, in order, are U+0100 and up (a space is U+0120).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ebb::models {

class ByteAlphabet {
 public:
  ByteAlphabet();
  /// The UTF-8 text that stands for `byte` in a vocabulary.
  const std::string& text_of(uint8_t byte) const { return text_of_byte_[byte]; }
  /// The bytes that a vocabulary entry stands for; nothing when a character is outside the
  /// alphabet.
  std::optional<std::string> bytes_of(std::string_view entry) const;

 private:
  static constexpr uint32_t kCodePoints = 0x100 + 68;
  std::array<std::string, 256> text_of_byte_;
  std::array<int16_t, kCodePoints> byte_of_code_point_;  ///< -1: none
};

}  // namespace ebb::models
