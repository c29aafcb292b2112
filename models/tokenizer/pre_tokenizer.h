// Cuts normalised text into the pieces that BPE works on. Must not know vocabularies.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Immutable after construction: split() any thread, each with a Run of its own.
class PreTokenizer {
 public:
  /// What the calls for one text share. The pieces view the text, or strings that the run keeps.
  struct Run {
    explicit Run(size_t text_bytes) : patterns(text_bytes) {}
    std::vector<std::string_view> pieces;  ///< of the last split(); none is empty

    PatternRun patterns;
    std::vector<std::string_view> coarse;
    std::vector<TextSpan> matches;
    std::deque<std::string> kept;
  };
  enum class Place { kTextBegin, kLater };

  /// Errors: of Pattern::compile(), with the pattern's place in the file.
  static Result<PreTokenizer> make(const std::vector<PreTokenizerStep>& steps);

  /// `text` must be valid UTF-8, not empty, and outlive the run. Errors: of Pattern::find_all().
  Result<void> split(std::string_view text, Place place, Run& run) const;

 private:
  struct Stage {
    PreTokenizerStep step;
    std::unique_ptr<Pattern> pattern;  ///< kPattern only
  };
  PreTokenizer() = default;
  Result<void> apply(const Stage& stage, std::string_view piece, Place place, Run& run) const;

  std::vector<Stage> stages_;
};

}  // namespace ebb::models
