// What a tokenizer does to a text before it looks for pieces. Must not know tokens.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Immutable after construction: any thread.
class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}
  bool empty() const { return steps_.empty(); }
  /// Nothing when `text` stays as it is. Bytes that are not UTF-8 are kept; form C is made of the
  /// valid text between them.
  std::optional<std::string> normalize(std::string_view text) const;

 private:
  std::vector<NormalizerStep> steps_;
};

/// `text` with every `pattern`, from left to right, replaced by `content`.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace ebb::models
