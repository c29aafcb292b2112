// UTF-8, strictly: shortest forms only, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ebb::models {

/// Bytes of the valid sequence that `text` begins with: 1 to 4; 0 when it begins with none.
size_t utf8_sequence_length(std::string_view text);

/// Bytes of the longest valid prefix of `text`.
size_t utf8_valid_prefix(std::string_view text);

/// Bytes of the white space character (Unicode's property White_Space) that `text` begins with; 0:
/// it begins with none.
size_t utf8_white_space(std::string_view text);

/// `bytes` with U+FFFD for each maximal part of a sequence that is not valid (Unicode 15, section
/// 3.9).
std::string utf8_replaced(std::string_view bytes);

/// The code point that `text` begins with; `text` must begin with a valid sequence.
char32_t utf8_decode(std::string_view text);

/// Appends `code_point` (at most U+10FFFF, not a surrogate).
void utf8_append(std::string& text, char32_t code_point);

}  // namespace ebb::models
