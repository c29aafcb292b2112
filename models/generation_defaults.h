// What a model's files say about how its authors sample from it. Plain values, all optional: a
// request's own fields win, and what neither says is the API's default.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace ebb::models {

struct GenerationDefaults {
  std::optional<double> temperature;
  std::optional<int32_t> top_k;  ///< 0: off
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  /// Tokens that end an answer, in the file's order; empty: the tokenizer's EOS alone.
  std::vector<TokenId> end_of_text;
};

}  // namespace ebb::models
