// Weights as safetensors: one file, or shards with an index. An untrusted input: every number is
// checked against the file before it is used. Knows no transformer. Internal to models/.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/mapped_file.h"
#include "models/tensor_table.h"

namespace ebb::models {

/// A tensor of one file; `view` has neither name nor memory of its own.
struct SafetensorsTensor {
  std::string name;
  TensorView view;  ///< its name is not set
};

/// The tensors of one whole file, in the order of their bytes. Errors: kInvalid (header longer than
/// the limit or than the file, malformed; bytes that overlap, leave holes or go beyond the file; a
/// shape that does not fit its bytes), kUnsupported (a dtype that Ebb does not read, data that are
/// not aligned). `file` must outlive the views. Any thread; any bytes.
Result<std::vector<SafetensorsTensor>> parse_safetensors(std::span<const std::byte> file);

/// What the file's header says about the file itself, as far as it is short and readable. Errors:
/// kInvalid, as parse_safetensors().
Result<std::map<std::string, std::string>> read_metadata(std::span<const std::byte> file);

/// All weights of a Hugging Face directory.
struct SafetensorsWeights {
  std::vector<std::unique_ptr<MappedFile>> files;  ///< by name
  std::deque<std::string> names;                   ///< what the table's views call theirs
  TensorTable table;
};

/// model.safetensors, or the shards that model.safetensors.index.json names. Errors: as
/// parse_safetensors(), with the file's name; kInvalid (no weights, a shard that is missing, that
/// contradicts the index or lies outside the directory), kUnsupported (other formats only).
Result<SafetensorsWeights> open_safetensors(const std::string& directory);

}  // namespace ebb::models
