// JSON of a request as values that a chat template computes with.
#pragma once

#include <string>

#include "coordinator/json_fields.h"
#include "models/jinja/value.h"

namespace ebb::coordinator {

/// Objects keep the order of their names. Errors: kInvalid: an integer beyond 64 bits, named by its
/// path; `path` is that of `node`.
Result<models::jinja::Value> template_value(JsonNode node, const std::string& path);

}  // namespace ebb::coordinator
