#include "models/grammar/schema_keywords.h"

#include <array>

namespace ebb::models::grammar {
namespace {

struct Keyword {
  std::string_view name;
  KeywordGroup group;
};
using Group = KeywordGroup;

constexpr Keyword kKeywords[] = {
    {"title", Group::kAnnotation},
    {"description", Group::kAnnotation},
    {"default", Group::kAnnotation},
    {"examples", Group::kAnnotation},
    {"deprecated", Group::kAnnotation},
    {"readOnly", Group::kAnnotation},
    {"writeOnly", Group::kAnnotation},
    {"$comment", Group::kAnnotation},
    {"$schema", Group::kAnnotation},
    {"$id", Group::kAnnotation},
    {"$defs", Group::kAnnotation},
    {"definitions", Group::kAnnotation},
    {"type", Group::kType},
    {"enum", Group::kValues},
    {"const", Group::kValues},
    {"$ref", Group::kReference},
    {"anyOf", Group::kCombination},
    {"oneOf", Group::kCombination},
    {"allOf", Group::kCombination},
    {"minLength", Group::kString},
    {"maxLength", Group::kString},
    {"pattern", Group::kString},
    {"format", Group::kString},
    {"minimum", Group::kNumber},
    {"maximum", Group::kNumber},
    {"exclusiveMinimum", Group::kNumber},
    {"exclusiveMaximum", Group::kNumber},
    {"items", Group::kArray},
    {"prefixItems", Group::kArray},
    {"minItems", Group::kArray},
    {"maxItems", Group::kArray},
    {"properties", Group::kObject},
    {"required", Group::kObject},
    {"additionalProperties", Group::kObject},
};

struct TypeName {
  std::string_view name;
  SchemaTypes type;
};
constexpr TypeName kTypeNames[] = {
    {"null", kTypeNull},
    {"boolean", kTypeBoolean},
    {"integer", kTypeInteger},
    {"string", kTypeString},
    {"array", kTypeArray},
    {"object", kTypeObject},
    {"number", kTypeNumber | kTypeInteger},
};

/// Written without a point, or with zeros behind it: 1.0 is an integer by the standard.
bool is_whole(const JsonTree& number) {
  if (number.is(JsonTree::Kind::kInteger)) return true;
  const size_t point = number.text.find('.');
  return point != std::string::npos &&
         number.text.find_first_not_of('0', point + 1) == std::string::npos;
}

}  // namespace

std::optional<KeywordGroup> keyword_group(std::string_view keyword) {
  for (const Keyword& known : kKeywords) {
    if (known.name == keyword) return known.group;
  }
  return {};
}

Error schema_error(const std::string& path, const std::string& message) {
  return invalid(path.empty() ? message : "at " + path + ": " + message);
}

std::string member_path(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

Result<SchemaTypes> read_types(const JsonTree& value, const std::string& path) {
  std::vector<const JsonTree*> names;
  if (value.is(JsonTree::Kind::kArray)) {
    for (const JsonTree& item : value.items) names.push_back(&item);
  } else {
    names.push_back(&value);
  }
  SchemaTypes types = 0;
  for (const JsonTree* name : names) {
    SchemaTypes type = 0;
    for (const TypeName& known : kTypeNames) {
      if (name->is(JsonTree::Kind::kString) && name->text == known.name) type = known.type;
    }
    if (type == 0) {
      return schema_error(path,
                          "must be null, boolean, integer, number, string, array, object or a "
                          "list of these, not " +
                              json_text(*name));
    }
    types |= type;
  }
  if (types == 0) return schema_error(path, "must name at least one type");
  return types;
}

SchemaTypes types_of_value(const JsonTree& value) {
  switch (value.kind) {
    case JsonTree::Kind::kNull:
      return kTypeNull;
    case JsonTree::Kind::kBool:
      return kTypeBoolean;
    case JsonTree::Kind::kInteger:
    case JsonTree::Kind::kReal:
      return is_whole(value) ? kTypeNumber | kTypeInteger : kTypeNumber;
    case JsonTree::Kind::kString:
      return kTypeString;
    case JsonTree::Kind::kArray:
      return kTypeArray;
    case JsonTree::Kind::kObject:
      return kTypeObject;
  }
  return 0;
}

Result<uint32_t> read_count(const JsonTree& value, const std::string& path, uint32_t most) {
  const std::string wanted = "must be a whole number from 0 to " + std::to_string(most);
  const bool number = value.is(JsonTree::Kind::kInteger) && value.text.size() <= 9;
  if (!number) return schema_error(path, wanted + ", not " + json_text(value));
  const long count = std::strtol(value.text.c_str(), nullptr, 10);
  if (count < 0 || count > long{most}) {
    return schema_error(path, wanted + ", not " + value.text);
  }
  return static_cast<uint32_t>(count);
}

Result<std::set<std::string>> read_names(const JsonTree& value, const std::string& path) {
  if (!value.is(JsonTree::Kind::kArray)) return schema_error(path, "must be a list of names");
  std::set<std::string> names;
  for (const JsonTree& item : value.items) {
    if (!item.is(JsonTree::Kind::kString)) {
      return schema_error(path, std::string("must hold names, not ") + json_tree_kind(item));
    }
    if (!names.insert(item.text).second) {
      return schema_error(path, "holds \"" + item.text + "\" twice");
    }
  }
  return names;
}

Result<void> stands_alone(const JsonTree& schema, const std::string& path, std::string_view of,
                          bool with_type) {
  for (const auto& [name, value] : schema.members) {
    const auto group = keyword_group(name);
    if (name == of || group == KeywordGroup::kAnnotation) continue;
    if (with_type && group == KeywordGroup::kType) continue;
    return schema_error(member_path(path, name), "is not supported beside " + std::string(of));
  }
  return {};
}

}  // namespace ebb::models::grammar
