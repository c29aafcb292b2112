// Form that a formatter does not settle: sizes, first lines, guards, and words that must not
// appear.
#pragma once

#include "tests/house/source_tree.h"

namespace ebb::house {

Violations check_line_length(const SourceFile& file);
Violations check_file_length(const SourceFile& file);
Violations check_function_length(const SourceFile& file);
/// A header begins with a comment that says what it is for, and has exactly one #pragma once.
Violations check_header_form(const SourceFile& file);
/// Calls and words with a better way to say them.
Violations check_banned_code(const SourceFile& file);
/// A TODO says of which kind it is.
Violations check_todos(const SourceFile& file);
/// Text speaks of the product, not of where and how it was made.
Violations check_banned_words(const SourceFile& file);

}  // namespace ebb::house
