// What a schema's keywords are for, and how their values are read. Must not know grammars.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "models/grammar/json_tree.h"

namespace ebb::models::grammar {

enum class KeywordGroup : uint8_t {
  kAnnotation,  ///< says nothing about which values are valid
  kType,
  kValues,  ///< enum, const
  kReference,
  kCombination,  ///< anyOf, oneOf, allOf
  kString,
  kNumber,
  kArray,
  kObject,
};
/// None: not a keyword that is supported.
std::optional<KeywordGroup> keyword_group(std::string_view keyword);

/// Kinds of JSON values, as `type` names them; integers are numbers too.
enum SchemaType : uint8_t {
  kTypeNull = 1,
  kTypeBoolean = 2,
  kTypeInteger = 4,
  kTypeNumber = 8,  ///< with kTypeInteger: all numbers
  kTypeString = 16,
  kTypeArray = 32,
  kTypeObject = 64,
};
using SchemaTypes = uint8_t;
constexpr SchemaTypes kEveryType = 127;

/// "at path: message", as all errors of schemas are: to be read behind the schema's own name.
Error schema_error(const std::string& path, const std::string& message);
/// "path.name", or "name" at the top.
std::string member_path(const std::string& path, const std::string& name);

/// The `type` keyword. Errors: kInvalid.
Result<SchemaTypes> read_types(const JsonTree& value, const std::string& path);
/// Kinds of one value: a whole number is kTypeInteger | kTypeNumber.
SchemaTypes types_of_value(const JsonTree& value);
/// A length or count. Errors: kInvalid unless a whole number from 0 to `most`.
Result<uint32_t> read_count(const JsonTree& value, const std::string& path, uint32_t most);
/// `required`: names, each once.
Result<std::set<std::string>> read_names(const JsonTree& value, const std::string& path);

/// All keywords are known, and none stands beside `of` that says more about the value than
/// `allowed` groups and annotations. Errors: kInvalid naming the other keyword.
Result<void> stands_alone(const JsonTree& schema, const std::string& path, std::string_view of,
                          bool with_type);

}  // namespace ebb::models::grammar
