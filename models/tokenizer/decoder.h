// Token ids back to text: what each token stands for, and how tokens come together. Must not know
// how text becomes tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Immutable after construction: any thread.
class TokenDecoder {
 public:
  /// `texts` and `flags` by id, as in TokenizerSpec.
  TokenDecoder(const DecoderSpec& spec, const std::vector<std::string>& texts,
               const std::vector<uint8_t>& flags);

  /// Of ids that exist.
  std::string_view bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }
  std::string_view bytes_at_begin(TokenId id) const;
  /// The token is one byte that may be a part of a code point.
  bool is_byte(TokenId id) const { return is_byte_[static_cast<size_t>(id)]; }
  /// Bytes that are not UTF-8 become U+FFFD one by one, in runs of such tokens.
  bool has_byte_tokens() const { return has_byte_tokens_; }
  bool drops_first_space() const { return leading_space_ == LeadingSpace::kOneDropped; }

 private:
  std::vector<std::string> bytes_;
  std::vector<std::string> bytes_at_begin_;  ///< empty unless tokens have more than one form
  std::vector<bool> is_byte_;
  LeadingSpace leading_space_;
  bool has_byte_tokens_;
};

}  // namespace ebb::models
