// From a model file's metadata to a ModelShape, checked for consistency, and the names of its
// tensors.
#pragma once

#include "models/gguf.h"
#include "models/model_shape.h"

namespace ebb::models {

/// Errors: kUnsupported for an architecture that Ebb does not know (names it and the known ones),
/// kInvalid for numbers that contradict each other or the tensors' shapes (names the key and both
/// figures).
Result<ModelShape> read_shape(const GgufFile& file);

}  // namespace ebb::models
