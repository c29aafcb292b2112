// What a request may demand of an answer's text, compiled to a grammar. The coordinator compiles to
// refuse what is wrong before anything runs, a worker to apply it: the same code on both sides.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

enum class ConstraintKind : uint8_t { kNone, kJsonObject, kJsonSchema, kRegex, kChoice };

constexpr size_t kChoicesMax = 1024;
constexpr size_t kChoiceBytesMax = 65536;  ///< of all together

/// `source`: nothing, a JSON schema, a regular expression, or a JSON list of strings. Bounded in
/// time and memory by the bytes of the source (kSchemaBytesMax, kRegexBytesMax) and by kStatesMax.
/// Errors: kInvalid: what is wrong and where, to be read behind the field's name.
Result<Grammar> compile_constraint(ConstraintKind kind, std::string_view source);

/// A list of strings as compile_constraint() takes it.
std::string choice_source(const std::vector<std::string>& choices);

}  // namespace ebb::models::grammar
