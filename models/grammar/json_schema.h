// A JSON schema as a grammar of the JSON texts that it admits. What is generated always validates;
// where a schema leaves a choice of spelling, some valid texts are never generated
// (docs/sampling.md says which). Keywords that are not understood are refused, never ignored.
#pragma once

#include <string_view>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

constexpr size_t kSchemaBytesMax = 65536;

/// JSON Schema, draft 2020-12, the keywords of docs/sampling.md. Errors: kInvalid, naming the path
/// of the keyword: "at properties.age.multipleOf: is not supported".
Result<Grammar> compile_json_schema(std::string_view schema);

/// Any JSON object.
Result<Grammar> compile_json_object();

}  // namespace ebb::models::grammar
