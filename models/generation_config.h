// How the authors of a model sample from it, by its files. Internal to models/.
#pragma once

#include <string_view>

#include "base/result.h"
#include "models/generation_defaults.h"
#include "models/gguf.h"

namespace ebb::models {

/// From generation_config.json, and for what it does not say (the tokens that end an answer) from
/// config.json; either may be empty: no such file. With do_sample false the defaults are greedy, as
/// `transformers` does it. Errors: kInvalid (JSON, a number out of range): names file and field.
Result<GenerationDefaults> read_generation_config(std::string_view generation_config,
                                                  std::string_view config);

/// From general.sampling.* and the ids of the tokens that end a text, a turn or a message. Errors:
/// kInvalid (a number out of range): names the key.
Result<GenerationDefaults> read_generation_metadata(const GgufFile& file);

}  // namespace ebb::models
