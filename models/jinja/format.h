// Python's printf-style formatting: the filter `format` and the operator '%' on text. Must not know
// how arguments came.
#pragma once

#include <string>
#include <string_view>

#include "models/jinja/value.h"

namespace ebb::models::jinja {

/// `format` with each "%s", "%-8.2f", "%(key)s", ... replaced. `arguments`: a tuple of them, a
/// mapping for those by key, or the only one. Errors: kInvalid (types, too few, too many),
/// kUnsupported (%a, %c, '#', '*'), kExhausted.
Result<std::string> format_text(std::string_view format, const Value& arguments, Budget& budget);

}  // namespace ebb::models::jinja
