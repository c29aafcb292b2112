// The identity of a model's files. Internal to models/.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/mapped_file.h"

namespace ebb::models {

/// XXH3, 128 bits, over the file's bytes. Not cryptographic, and need not be: it tells models apart
/// that were meant to be different and finds bytes that rotted, while whoever can choose a model's
/// bytes can make it say anything anyway (docs/decisions/). Reads through a small buffer, so the
/// pages do not count as this process's memory. Time: that of reading the file. Errors: kInvalid
/// (it cannot be read).
Result<Digest> content_hash(const MappedFile& file);

/// One name for all of them: a digest over sizes and hashes, in the order given.
Result<Digest> model_digest(std::span<const MappedFile* const> files);

}  // namespace ebb::models
