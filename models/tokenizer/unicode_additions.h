// Characters that Unicode gained after the version of PCRE2's tables (14), up to that of the
// reference (16): patterns must know them as letters, marks and so on.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ebb::models {

/// Code points [first, last], all of one general category and script.
struct UnicodeAddition {
  uint32_t first = 0;
  uint32_t last = 0;
  std::string_view category;  ///< "Lo"
  std::string_view script;    ///< "Han", "Hiragana", "Katakana"; empty: another
};

/// In ascending order.
std::span<const UnicodeAddition> unicode_additions();

}  // namespace ebb::models
