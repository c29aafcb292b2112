// Text to token ids and back, exactly as the model's own tokenizer does it.
#pragma once

#include <cstdint>
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
  /// `text` is UTF-8. Bytes that are not are encoded as the bytes they are, each by itself, where
  /// the vocabulary has bytes; normalisation and pre-tokenisation see only the valid text between
  /// them. Nothing is added before or behind. Errors: kInvalid: the text makes a pattern of the
  /// model's file take more steps than its limit.
  virtual Result<std::vector<TokenId>> encode(std::string_view text,
                                              SpecialTokens special) const = 0;
  /// The raw bytes of one token inside a text: may be part of a code point. Special tokens give
  /// their text. Empty for an id outside the vocabulary.
  virtual std::string_view token_bytes(TokenId id) const = 0;
  /// The same where the token begins a text: tokenizers of the SentencePiece kind put a space
  /// before each text when they encode, and take it away again here.
  virtual std::string_view token_bytes_at_begin(TokenId id) const { return token_bytes(id); }
  virtual bool is_special(TokenId id) const = 0;
  virtual uint32_t vocabulary() const = 0;
  virtual TokenId end_of_text() const = 0;    ///< EOS; -1: none
  virtual bool adds_bos() const = 0;          ///< ids_before() is not empty
  virtual TokenId begin_of_text() const = 0;  ///< BOS; -1: none

  /// What the model's post-processor puts before a text, and behind it.
  virtual std::vector<TokenId> ids_before() const {
    return adds_bos() ? std::vector<TokenId>{begin_of_text()} : std::vector<TokenId>{};
  }
  virtual std::vector<TokenId> ids_after() const { return {}; }

  /// The bytes of a whole text; special tokens are left out when `skip_special`. What encode() was
  /// given comes back (after normalisation), invalid UTF-8 included.
  std::string decode(const std::vector<TokenId>& ids, bool skip_special) const;
  /// The same as valid UTF-8, with U+FFFD where the reference implementation has it: for each
  /// maximal part of a sequence (Unicode 15, section 3.9), or, where the vocabulary has tokens of
  /// single bytes, for each token of a run of those that is not UTF-8 as a whole.
  virtual std::string decode_text(const std::vector<TokenId>& ids, bool skip_special) const;
};

/// Decodes token by token: what the pushes give, one after another, is what decode() gives.
/// Single-threaded; the tokenizer must outlive it.
class Detokenizer {
 public:
  enum class Begin {
    kText,    ///< the first token begins a text
    kMidway,  ///< text stands before it
  };
  Detokenizer(const Tokenizer& tokenizer, Begin begin)
      : tokenizer_(&tokenizer), at_begin_(begin == Begin::kText) {}

  /// The bytes that this token adds: whole code points only together with its neighbours. The view
  /// lives as long as the tokenizer.
  std::string_view push(TokenId id);

 private:
  const Tokenizer* tokenizer_;
  bool at_begin_;
};

/// From tokenizer.ggml.*: byte-level BPE ("gpt2") and BPE of the SentencePiece kind ("llama").
/// Errors: kUnsupported (tokenizer.ggml.model or .pre not known: names it and the known ones),
/// kInvalid (merges that name unknown tokens, duplicate tokens, wrong lengths).
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const GgufFile& file);

/// From the texts of Hugging Face's tokenizer.json and tokenizer_config.json (empty: there is
/// none). Of the second only these are read: bos_token, eos_token, tokenizer_class, add_bos_token,
/// add_eos_token. `where` is put before errors: the file's path. Errors: kUnsupported: a part, a
/// type or a field that is not known: names its path in the file and the known ones; kInvalid:
/// malformed, or contradicts itself. Under a second for the largest files that are accepted.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view tokenizer_json,
                                                       std::string_view tokenizer_config_json,
                                                       const std::string& where);

}  // namespace ebb::models
