// Python's letter cases and printability of UTF-8 text. Bytes that are no UTF-8 stay as they are.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb::models::jinja {

/// str.isprintable() of one character.
bool is_printable(char32_t character);

/// str.upper().
std::string to_upper(std::string_view text);
/// str.lower(). Errors: kUnsupported: a capital sigma, which has two small letters by its place.
Result<std::string> to_lower(std::string_view text);
/// str.capitalize(): the first character in title case. Errors: as to_lower().
Result<std::string> capitalized(std::string_view text);
/// Jinja's filter `title`: upper case behind blanks, "-", "(", "{", "[" and "<". Errors: as
/// to_lower().
Result<std::string> in_title_case(std::string_view text);

}  // namespace ebb::models::jinja
