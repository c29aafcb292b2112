// Regular expressions as tokenizer.json has them, in Oniguruma's Ruby syntax, rewritten for PCRE2
// with the same meaning. Where the two libraries would differ (what \s, \w, \h and \v are, scripts,
// possessive intervals, line ends) the text is rewritten or refused, never passed on. Knows no
// library: text in, text out.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb::models {

/// For PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE and newline = LF. `pattern` must be valid UTF-8.
/// Errors: kUnsupported: names what is not supported and the byte where it stands; kInvalid:
/// not a pattern.
Result<std::string> pcre2_syntax(std::string_view pattern);

}  // namespace ebb::models
