// Texts that measures read from files.
#pragma once

#include <string>

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

}  // namespace ebb::score
