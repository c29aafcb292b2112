// What one rendering may cost. A template comes with a model file, from anywhere, so work, memory
// and output are all bounded.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ebb::models::jinja {

class Budget {
 public:
  /// Text that is built on the way may be a few times the output, and text that is looked at more
  /// often than that; both bound what a template can waste in proportion to what it may produce.
  Budget(uint64_t steps_max, uint64_t output_max)
      : steps_(steps_max), built_(4 * output_max), read_(32 * output_max) {}

  /// One evaluation, one iteration, one element of a list.
  Result<void> step(uint64_t count = 1) { return take(steps_, count, "steps"); }
  /// Before building text of `bytes`.
  Result<void> build(uint64_t bytes) { return take(built_, bytes, "bytes of text"); }
  /// Before looking through text of `bytes`.
  Result<void> read(uint64_t bytes) { return take(read_, bytes, "bytes looked through"); }

 private:
  struct Purse {
    explicit Purse(uint64_t amount) : limit(amount), left(amount) {}
    uint64_t limit;
    uint64_t left;
  };
  static Result<void> take(Purse& purse, uint64_t amount, const char* what) {
    if (amount <= purse.left) [[likely]] {
      purse.left -= amount;
      return {};
    }
    return exhausted("the template's limit of " + std::to_string(purse.limit) + " " + what);
  }

  Purse steps_;
  Purse built_;
  Purse read_;
};

}  // namespace ebb::models::jinja
