// Keys and tensors of model files that do not change what the graph computes, as data. Whatever is
// neither read nor listed here is refused: see docs/models.md. Internal to models/.
#pragma once

#include <string>
#include <string_view>

#include "models/family.h"

namespace ebb::models {

/// A key that may hold anything: how the model was trained, saved or is sampled from.
bool is_neutral_key(FileFormat format, std::string_view key);
/// A tensor that is derived from numbers which are read elsewhere.
bool is_neutral_tensor(FileFormat format, std::string_view name);
/// Why a key is refused, as the end of a sentence that begins with the key.
std::string foreign_key_reason(std::string_view key);

}  // namespace ebb::models
