// The symbols that a piece begins as, before anything merges: its bytes or its characters.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "models/seeded_hash.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Immutable after construction: append() any thread.
class FirstSymbols {
 public:
  /// `token_of` gives a text's token, or -1.
  FirstSymbols(const BpeSpec& spec, const std::function<TokenId(std::string_view)>& token_of,
               const std::vector<std::string>& texts);

  /// A byte or character without a token becomes byte tokens, or the unknown token, or nothing, as
  /// the vocabulary has it.
  void append(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  /// Bytes of the character that `text` begins with.
  size_t length_of(std::string_view text) const;
  TokenId token_of(std::string_view character) const;
  bool append_bytes(std::string_view character, std::vector<TokenId>& out) const;

  BpeSpec::Alphabet alphabet_;
  bool every_byte_ = false;  ///< each byte is one symbol: nothing else need be looked at
  std::array<TokenId, 256> of_byte_;
  std::unordered_map<uint64_t, TokenId, SeededHash> of_code_point_;
  bool byte_fallback_;
  std::array<TokenId, 256> fallback_;
  TokenId unknown_;
  bool fuses_unknown_;
};

}  // namespace ebb::models
