// Texts that measures read from files.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "score/backend.h"

namespace ebb::score {

struct TextFile {
  std::string name;  ///< the file's name without its folder
  std::string text;
  Tokens tokens;
  std::string fingerprint;  ///< of the tokens: a text that has changed is another one
};

/// What a file holds; errors name `option`. Errors: kNotFound, kInvalid (too long, empty).
Result<std::string> read_text(const std::string& option, const std::string& path);

/// Reads and tokenizes. Errors: kNotFound, kInvalid (too long, empty, not UTF-8).
Result<TextFile> read_text_file(Backend& backend, const std::string& path);
/// Several, each of at least `needed` tokens: `sum` says what these are. Errors besides: kInvalid
/// (too few tokens; two files of one name, which records could not tell apart).
Result<std::vector<TextFile>> read_text_files(Backend& backend,
                                              const std::vector<std::string>& paths,
                                              uint64_t needed, const std::string& sum);
/// Names and fingerprints: what a run's folder keeps of its texts.
std::string list_text(const std::vector<TextFile>& texts);
/// The model's prefix and the text's tokens from `begin` on: `count` tokens in all, more than the
/// prefix has.
Tokens prompt_of(const ModelFacts& model, const TextFile& text, uint64_t begin, uint64_t count);

}  // namespace ebb::score
