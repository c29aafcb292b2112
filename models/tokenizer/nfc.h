// Unicode's normalisation form C. The only file pair that knows utf8proc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ebb::models {

/// `text`, valid UTF-8, in form C; nothing when it is that already. O(n log n), also for text that
/// is all combining marks.
std::optional<std::string> to_nfc(std::string_view text);

}  // namespace ebb::models
