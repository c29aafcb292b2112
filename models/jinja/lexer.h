// A template's source to tokens. White space around tags is settled here, as with Jinja's
// trim_blocks and lstrip_blocks both on, which is how chat templates are written. Comments vanish.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models::jinja {

/// One-based; columns count bytes.
struct Place {
  uint32_t line = 1;
  uint32_t column = 1;
};

/// Puts "line 3, column 5: " in front.
Error at_place(Place place, Error error);

enum class TokenKind {
  kText,
  kTagBegin,
  kTagEnd,
  kOutputBegin,
  kOutputEnd,
  kName,
  kString,
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  ///< of strings the value, escapes resolved
  Place place;
};

/// The last token is kEnd. Errors: kInvalid, with line and column.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace ebb::models::jinja
