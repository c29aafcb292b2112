// From what a model's files state to a ModelShape, and every tensor held against it. Internal to
// models/: ModelFiles::open() is the way in.
#pragma once

#include "base/result.h"
#include "models/family.h"
#include "models/model_facts.h"
#include "models/model_shape.h"
#include "models/tensor_table.h"

namespace ebb::models {

/// All but name, digest and, for kGguf, what only the tensors show (tied_head, biases): those
/// are taken from `tensors`, which config.json does not need and which may then be null. Errors:
/// kUnsupported (something that the graph does not do: names key and value), kInvalid (numbers out
/// of range, or that contradict each other).
Result<ModelShape> read_gguf_shape(const ModelFacts& facts, const Family& family,
                                   const TensorTable& tensors);
Result<ModelShape> read_config_shape(const ModelFacts& facts, const Family& family);

/// All tensors of the graph there, of the right shape, and no other: a tensor that the graph would
/// ignore is a graph that we do not know. Errors: kInvalid, kUnsupported; they name the tensor.
Result<void> check_tensors(const TensorTable& tensors, FileFormat format, const ModelShape& shape);

}  // namespace ebb::models
