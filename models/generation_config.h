// How the authors of a Hugging Face model sample from it. Internal to models/.
#pragma once

#include <string_view>

#include "base/result.h"
#include "models/generation_defaults.h"

namespace ebb::models {

/// From generation_config.json, and for what it does not say (the tokens that end an answer) from
/// config.json; either may be empty: no such file. With do_sample false the defaults are greedy, as
/// `transformers` does it. Errors: kInvalid (JSON, a number out of range): names file and field.
Result<GenerationDefaults> read_generation_config(std::string_view generation_config,
                                                  std::string_view config);

}  // namespace ebb::models
