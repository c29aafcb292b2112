// The syntax tree of a regular expression, and its parser. Must not know grammars.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/grammar/code_points.h"

namespace ebb::models::grammar {

struct RegexNode {
  enum class Kind : uint8_t {
    kSet,        ///< one code point of `set`
    kSequence,   ///< the parts one after another; none: the empty text
    kChoice,     ///< one of the parts
    kRepeat,     ///< parts[0], min to max times
    kTextBegin,  ///< ^
    kTextEnd,    ///< $
  };
  Kind kind = Kind::kSequence;
  CodePointSet set;
  std::vector<RegexNode> parts;
  uint32_t min = 0;
  std::optional<uint32_t> max;  ///< none: any number
};

/// Errors: kInvalid, "at byte N: ...".
Result<RegexNode> parse_regex(std::string_view pattern);

}  // namespace ebb::models::grammar
