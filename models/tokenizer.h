// Text to token ids and back, exactly as the model's own tokenizer does it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/gguf.h"

namespace ebb::models {

enum class SpecialTokens {
  kAsText,
  kParse
};  ///< "<|im_end|>" in the text: seven pieces, or the one token

/// Immutable after construction: all methods any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// `text` is UTF-8; invalid bytes are encoded as the bytes they are (byte-level BPE can). No BOS
  /// is added.
  virtual std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const = 0;
  /// The raw bytes of one token: may be part of a code point. Special tokens give their text.
  virtual std::string_view token_bytes(TokenId id) const = 0;
  virtual bool is_special(TokenId id) const = 0;
  virtual uint32_t vocabulary() const = 0;
  virtual TokenId end_of_text() const = 0;  ///< EOS; -1: none
  virtual bool adds_bos() const = 0;
  virtual TokenId begin_of_text() const = 0;  ///< BOS; -1: none
  /// Concatenated bytes; special tokens are left out when `skip_special`.
  std::string decode(const std::vector<TokenId>& ids, bool skip_special) const;
};

/// Byte-level BPE from tokenizer.ggml.*. Errors: kUnsupported (tokenizer.ggml.model or .pre not
/// known: names it and the known ones), kInvalid (merges that name unknown tokens, duplicate
/// tokens, wrong lengths).
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const GgufFile& file);

}  // namespace ebb::models
