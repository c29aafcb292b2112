// Cuts text into the pieces that BPE then works on, by the regular expressions of a named
// pre-tokenizer. The only file pair that knows PCRE2. Must not know vocabularies.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models {

/// What a name in `tokenizer.ggml.pre` means.
struct PreTokenizerSpec {
  std::string_view name;
  /// Applied one after another: each cuts the pieces of the one before into its matches and what
  /// lies between. A piece is matched by itself: nothing looks beyond its ends.
  std::vector<const char*> patterns;
  /// a piece that is in the vocabulary is that token, whatever the merges say
  bool whole_words_first = false;
  bool adds_bos = false;  ///< unless the model file says otherwise
};

/// Errors: kUnsupported, naming `name` and the known ones.
Result<PreTokenizerSpec> find_pre_tokenizer(std::string_view name);

/// Immutable after construction: split() any thread.
class PreTokenizer {
 public:
  static Result<std::unique_ptr<PreTokenizer>> compile(const std::vector<const char*>& patterns);
  virtual ~PreTokenizer() = default;
  /// Non-empty views into `text` that together are `text`. `text` must be valid UTF-8. Linear in
  /// its length.
  virtual std::vector<std::string_view> split(std::string_view text) const = 0;
};

}  // namespace ebb::models
