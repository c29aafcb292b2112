// Tokens to a tree, by recursive descent with Jinja's precedences. What the interpreter lacks is
// refused here, by name, so that a template either runs or is known not to before the first
// request.
#pragma once

#include <string_view>

#include "models/jinja/ast.h"

namespace ebb::models::jinja {

/// Errors: kInvalid (syntax), kUnsupported (a feature of Jinja that is not here: names it); both
/// with line and column; kInvalid for sources over 1 MiB and for nesting beyond what the stack
/// should hold.
Result<Body> parse_template(std::string_view source);

}  // namespace ebb::models::jinja
