#include "models/tokenizer/decoder.h"

#include <cctype>
#include <optional>

#include "models/tokenizer/byte_level.h"
#include "models/tokenizer/normalizer.h"

namespace ebb::models {
namespace {

/// The byte that "<0xE2>" names.
std::optional<char> byte_of(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

std::string replaced(std::string text, const std::vector<DecoderSpec::Replacement>& replacements) {
  for (const auto& [pattern, content] : replacements) {
    if (text.find(pattern) != text.npos) text = replace_all(text, pattern, content);
  }
  return text;
}

}  // namespace

TokenDecoder::TokenDecoder(const DecoderSpec& spec, const std::vector<std::string>& texts,
                           const std::vector<uint8_t>& flags)
    : is_byte_(texts.size(), false),
      leading_space_(spec.leading_space),
      has_byte_tokens_(spec.byte_fallback) {
  const ByteAlphabet alphabet;
  bytes_.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i];
    if ((flags[i] & TokenizerSpec::kLiteral) != 0) {
      bytes_.push_back(text);
      continue;
    }
    if (spec.kind == DecoderSpec::Kind::kByteLevel) {
      bytes_.push_back(alphabet.bytes_of(text).value_or(text));
      continue;
    }
    bytes_.push_back(replaced(text, spec.replacements));
    const auto byte = spec.byte_fallback ? byte_of(bytes_.back()) : std::nullopt;
    if (byte) bytes_.back().assign(1, *byte);
    is_byte_[i] = byte.has_value();
  }
  if (leading_space_ != LeadingSpace::kFirstTokenMarks) return;
  bytes_at_begin_.reserve(texts.size());
  for (const std::string& text : texts) {
    bytes_at_begin_.push_back(replace_all(text, spec.mark, ""));
  }
}

std::string_view TokenDecoder::bytes_at_begin(TokenId id) const {
  switch (leading_space_) {
    case LeadingSpace::kKept:
      return bytes(id);
    case LeadingSpace::kOneDropped:
      return bytes(id).substr(bytes(id).starts_with(' ') ? 1 : 0);
    case LeadingSpace::kFirstTokenMarks:
      return bytes_at_begin_[static_cast<size_t>(id)];
  }
  return bytes(id);
}

}  // namespace ebb::models
