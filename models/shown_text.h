// What a file says, as messages show it: a file's text may be a gigabyte of control characters.
#pragma once

#include <string>
#include <string_view>

namespace ebb::models {

/// The first 80 bytes of `bytes`, with "..." where more follow: valid UTF-8 (U+FFFD for what is
/// not), with "?" for control characters.
std::string shown_text(std::string_view bytes);

/// The same between single quotes.
std::string quoted_text(std::string_view bytes);

}  // namespace ebb::models
