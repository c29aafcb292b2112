// The two JSON texts of safetensors weights: a file's header, and the index of a sharded model.
// Read event by event: nothing is kept but what is wanted, so that a hostile text costs no memory.
// The JSON library stays in safetensors_json.cpp. Internal to models/.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models {

/// One tensor as its header says, not yet checked against anything.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  ///< bytes [begin, end) of the data behind the header
  uint64_t end = 0;
};

/// In the text's order. Errors: kInvalid (malformed; a field missing, twice, unknown or of another
/// type; more tensors or dimensions than the limits): names the tensor.
Result<std::vector<SafetensorsEntry>> read_safetensors_json(std::string_view json);

/// The __metadata__ of a header: what is readable and short enough, at most 64 members, the first
/// of each name. Errors: as above.
Result<std::map<std::string, std::string>> read_safetensors_metadata(std::string_view json);

/// The weight_map of model.safetensors.index.json: which file has a tensor. Errors: as above.
Result<std::map<std::string, std::string>> read_weight_map(std::string_view json);

}  // namespace ebb::models
