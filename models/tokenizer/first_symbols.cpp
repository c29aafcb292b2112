#include "models/tokenizer/first_symbols.h"

#include <algorithm>

#include "models/tokenizer/byte_level.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

uint8_t first_byte(std::string_view text) { return static_cast<uint8_t>(text[0]); }

std::string byte_token(uint8_t byte) {
  static const char* kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

/// Built once: 256 short strings.
const ByteAlphabet& alphabet() {
  static const ByteAlphabet kAlphabet;
  return kAlphabet;
}

}  // namespace

FirstSymbols::FirstSymbols(const BpeSpec& spec,
                           const std::function<TokenId(std::string_view)>& token_of,
                           const std::vector<std::string>& texts)
    : alphabet_(spec.alphabet),
      byte_fallback_(spec.byte_fallback),
      unknown_(spec.unknown),
      fuses_unknown_(spec.fuses_unknown) {
  const bool bytes = alphabet_ == BpeSpec::Alphabet::kBytes;
  for (size_t i = 0; i < 256; ++i) {
    const auto byte = static_cast<uint8_t>(i);
    fallback_[i] = token_of(byte_token(byte));
    const std::string ascii(1, static_cast<char>(byte));
    of_byte_[i] = bytes ? token_of(alphabet().text_of(byte)) : byte < 0x80 ? token_of(ascii) : -1;
  }
  every_byte_ =
      bytes && std::all_of(of_byte_.begin(), of_byte_.end(), [](TokenId t) { return t >= 0; });
  if (bytes) return;
  for (const std::string& text : texts) {
    const size_t length = utf8_sequence_length(text);
    if (length < 2 || length != text.size()) continue;
    const TokenId token = token_of(text);
    if (token >= 0) of_code_point_.emplace(utf8_decode(text), token);
  }
}

size_t FirstSymbols::length_of(std::string_view text) const {
  if (alphabet_ == BpeSpec::Alphabet::kBytes) return 1;
  return std::max<size_t>(1, utf8_sequence_length(text));
}

TokenId FirstSymbols::token_of(std::string_view character) const {
  if (character.size() == 1) return of_byte_[first_byte(character)];
  const auto it = of_code_point_.find(utf8_decode(character));
  return it == of_code_point_.end() ? -1 : it->second;
}

bool FirstSymbols::append_bytes(std::string_view character, std::vector<TokenId>& out) const {
  if (!byte_fallback_) return false;
  // What falls back is the vocabulary's spelling: in the byte alphabet it may be two bytes.
  if (alphabet_ == BpeSpec::Alphabet::kBytes) character = alphabet().text_of(first_byte(character));
  const size_t begin = out.size();
  for (const char c : character) {
    out.push_back(fallback_[static_cast<uint8_t>(c)]);
    if (out.back() >= 0) continue;
    out.resize(begin);
    return false;
  }
  return true;
}

void FirstSymbols::append(std::string_view piece, std::vector<TokenId>& out) const {
  if (every_byte_) {
    for (const char c : piece) out.push_back(of_byte_[static_cast<uint8_t>(c)]);
    return;
  }
  bool unknown_due = false;
  while (!piece.empty()) {
    const std::string_view character = piece.substr(0, length_of(piece));
    piece.remove_prefix(character.size());
    const TokenId token = token_of(character);
    if (token >= 0) {
      if (unknown_due) out.push_back(unknown_);
      unknown_due = false;
      out.push_back(token);
    } else if (!append_bytes(character, out) && unknown_ >= 0) {
      // Byte tokens overtake an unknown token that is still due: so does the reference.
      if (unknown_due && !fuses_unknown_) out.push_back(unknown_);
      unknown_due = true;
    }
  }
  if (unknown_due) out.push_back(unknown_);
}

}  // namespace ebb::models
