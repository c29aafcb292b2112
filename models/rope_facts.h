// Reads what a model's files say about its rotation. Internal to models/.
#pragma once

#include "base/result.h"
#include "models/family.h"
#include "models/model_facts.h"
#include "models/tensor_table.h"

namespace ebb::models {

/// Sets the rope_ fields, context_most and, by the family's rule, rope_layers. Needs head_size,
/// layers and context_length. Errors: kUnsupported (a scaling that Ebb does not know: names it and
/// the known ones), kInvalid (a number out of range).
Result<void> read_gguf_rope(const ModelFacts& facts, const Family& family,
                            const TensorTable& tensors, ModelShape& shape);
Result<void> read_config_rope(const ModelFacts& facts, const Family& family, ModelShape& shape);

/// The tensor of a GGUF file that divides frequencies.
inline constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

}  // namespace ebb::models
