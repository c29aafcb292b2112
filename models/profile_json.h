// Selection profiles as JSON with stable keys (docs/ebbctl.md): what the coordinator answers when
// it is asked which one is in force. Files are YAML: models/selection_profile.h.
#pragma once

#include <string>
#include <string_view>

#include "models/selection_profile.h"

namespace ebb::models {

/// Kind "SelectionProfile": the keys of the file, and beside them `classes` (one word a layer) and
/// `bands` (half-open), which follow from these.
std::string profile_json(const SelectionProfile& profile);
/// The reverse; what follows from other keys is not read. Errors: kCorrupt (not what profile_json()
/// writes, or no good profile).
Result<SelectionProfile> profile_from_json(std::string_view text);

}  // namespace ebb::models
