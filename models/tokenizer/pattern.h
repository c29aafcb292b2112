// Finds the matches of one regular expression in a text. The only file pair that knows PCRE2. Must
// not know vocabularies, nor what becomes of the matches.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models {

struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

/// What the patterns share while they work on one text: scratch memory, and a limit of steps.
/// Patterns that are known to be linear do not count steps; any other is watched while it runs,
/// because a file may bring one that tries every way through a text. For one thread.
class PatternRun {
 public:
  explicit PatternRun(size_t text_bytes);
  ~PatternRun();
  PatternRun(const PatternRun&) = delete;
  PatternRun& operator=(const PatternRun&) = delete;

 private:
  friend class Pcre2Pattern;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

/// Immutable after construction: find_all() any thread.
class Pattern {
 public:
  /// `pattern` is in Oniguruma's Ruby syntax, as in tokenizer.json. Errors: kUnsupported, kInvalid:
  /// say what is wrong and at which byte.
  static Result<std::unique_ptr<Pattern>> compile(std::string_view pattern);
  virtual ~Pattern() = default;

  /// Appends the matches in `text` from left to right: each where the one before ended or later,
  /// empty ones only where none ended. `text` must be valid UTF-8; nothing looks beyond its ends.
  /// Errors: kInvalid: the run's steps are used up.
  virtual Result<void> find_all(std::string_view text, PatternRun& run,
                                std::vector<TextSpan>& out) const = 0;
};

/// compile() without the scanners that are written by hand for well-known patterns: what those are
/// compared with.
Result<std::unique_ptr<Pattern>> compile_with_pcre2(std::string_view pattern);

}  // namespace ebb::models
