// The pre-tokenizer patterns of the model families, by the names that GGUF files use. What a
// tokenizer.json brings is its own; here it is only recognised.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// GPT-2's, which the pre-tokenizer ByteLevel uses unless it is told not to.
extern const std::string_view kGpt2Pattern;

/// What a name in `tokenizer.ggml.pre` means.
struct KnownPreTokenizer {
  std::vector<std::string_view> names;
  /// Applied one after another, each isolating its matches.
  std::vector<std::string_view> patterns;
  bool normalizes_to_nfc = false;
  bool whole_words_first = false;
  bool adds_bos = false;  ///< unless the model file says otherwise
};

/// Errors: kUnsupported, naming `name` and the known ones.
Result<KnownPreTokenizer> find_pre_tokenizer(std::string_view name);

/// All patterns of the families, each once.
std::vector<std::string_view> known_patterns();

/// Of the known patterns it is known that they take a number of steps that is linear in the text,
/// whatever the text is: they need no watching. `rewritten` is in PCRE2's syntax.
bool is_linear_pattern(std::string_view rewritten);

/// A scanner written by hand that finds what `pattern` finds; null: there is none.
std::unique_ptr<Pattern> make_scanner(std::string_view pattern);

}  // namespace ebb::models
