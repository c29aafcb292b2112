// Models that were cut into several GGUF files: their names and numbers. Internal to models/.
#pragma once

#include <cstdint>
#include <string>

#include "models/gguf.h"

namespace ebb::models {

/// How many files the model of `first` has; 1 for a whole one. Errors: kInvalid (not the first
/// part, more than the limit).
Result<uint64_t> part_count(const GgufFile& first);

/// The path of part `part` (from 0), beside the first: NAME-00002-of-00003.gguf. Errors: kInvalid
/// (the first is not called like one).
Result<std::string> part_path(const std::string& first, uint64_t part, uint64_t count);

/// Errors: kInvalid: the file is not that part of a model in so many.
Result<void> check_part(const GgufFile& file, uint64_t part, uint64_t count);

/// Errors: kInvalid: the first part counts another number of tensors.
Result<void> check_tensor_count(const GgufFile& first, uint64_t tensors);

}  // namespace ebb::models
