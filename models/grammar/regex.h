// Regular expressions as parts of a grammar: the subset of ECMA-262 (with its u flag) that names a
// regular language. docs/sampling.md lists it. Everything else is refused with its position.
#pragma once

#include <string_view>

#include "models/grammar/code_points.h"
#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

constexpr size_t kRegexBytesMax = 16384;
constexpr uint32_t kRepeatMax = 4096;  ///< {m,n}
constexpr uint32_t kGroupDepthMax = 64;

enum class Anchoring : uint8_t {
  kWhole,   ///< the whole text matches; ^ and $ at its ends change nothing
  kSearch,  ///< a part matches, unless ^ and $ say more (JSON Schema's `pattern`)
};

/// Adds all texts that match between two states. Errors: kInvalid with the position in bytes.
Result<void> add_regex(GrammarBuilder& builder, State from, std::string_view pattern,
                       Spelling spelling, Anchoring anchoring, State to);

}  // namespace ebb::models::grammar
