// Is a JSON value valid for a schema? A plain reading of the standard for the keywords that the
// compiler knows; golden cases compare its verdicts with the jsonschema package.
#pragma once

#include <cmath>
#include <regex>
#include <string>

#include "models/grammar/schema_compiler.h"
#include "models/utf8.h"

namespace ebb::models::grammar::testing {

class Validator {
 public:
  explicit Validator(const JsonTree& schema) : root_(schema) {}
  bool valid(const JsonTree& value) const { return valid(root_, value); }

 private:
  using Kind = JsonTree::Kind;
  static double number(const JsonTree& v) { return std::strtod(v.text.c_str(), nullptr); }
  static bool is_number(const JsonTree& v) { return v.is(Kind::kInteger) || v.is(Kind::kReal); }
  static size_t code_points(std::string_view text) {
    size_t count = 0;
    for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
    return count;
  }
  static bool equal(const JsonTree& a, const JsonTree& b) {
    if (is_number(a) && is_number(b)) return number(a) == number(b);
    if (a.kind != b.kind || a.text != b.text || a.boolean != b.boolean) return false;
    if (a.items.size() != b.items.size() || a.members.size() != b.members.size()) return false;
    for (size_t i = 0; i < a.items.size(); ++i) {
      if (!equal(a.items[i], b.items[i])) return false;
    }
    for (const auto& [name, member] : a.members) {
      const JsonTree* other = b.find(name);
      if (other == nullptr || !equal(member, *other)) return false;
    }
    return true;
  }
  static bool of_type(const JsonTree& value, std::string_view type) {
    if (type == "null") return value.is(Kind::kNull);
    if (type == "boolean") return value.is(Kind::kBool);
    if (type == "string") return value.is(Kind::kString);
    if (type == "array") return value.is(Kind::kArray);
    if (type == "object") return value.is(Kind::kObject);
    if (type == "number") return is_number(value);
    return is_number(value) && number(value) == std::floor(number(value));
  }

  bool valid(const JsonTree& schema, const JsonTree& value) const {
    if (schema.is(Kind::kBool)) return schema.boolean;
    for (const auto& [name, operand] : schema.members) {
      if (!holds(schema, name, operand, value)) return false;
    }
    return true;
  }

  size_t count_valid(const JsonTree& schemas, const JsonTree& value) const {
    size_t count = 0;
    for (const JsonTree& schema : schemas.items) count += valid(schema, value) ? 1 : 0;
    return count;
  }

  bool holds(const JsonTree& schema, const std::string& name, const JsonTree& operand,
             const JsonTree& value) const {
    if (name == "$ref") return valid(**resolve_reference(root_, operand, ""), value);
    if (name == "const") return equal(operand, value);
    if (name == "enum") {
      return std::any_of(operand.items.begin(), operand.items.end(),
                         [&](const JsonTree& item) { return equal(item, value); });
    }
    if (name == "anyOf") return count_valid(operand, value) > 0;
    if (name == "oneOf") return count_valid(operand, value) == 1;
    if (name == "allOf") return count_valid(operand, value) == operand.items.size();
    if (name == "type") {
      if (operand.is(Kind::kString)) return of_type(value, operand.text);
      return std::any_of(operand.items.begin(), operand.items.end(),
                         [&](const JsonTree& type) { return of_type(value, type.text); });
    }
    if (value.is(Kind::kString)) return holds_for_string(name, operand, value);
    if (is_number(value)) return holds_for_number(name, operand, number(value));
    if (value.is(Kind::kArray)) return holds_for_array(schema, name, operand, value);
    if (value.is(Kind::kObject)) return holds_for_object(schema, name, operand, value);
    return true;
  }

  static bool holds_for_string(const std::string& name, const JsonTree& operand,
                               const JsonTree& value) {
    const auto length = static_cast<double>(code_points(value.text));
    if (name == "minLength") return length >= number(operand);
    if (name == "maxLength") return length <= number(operand);
    if (name == "pattern") return std::regex_search(value.text, std::regex(operand.text));
    return true;
  }
  static bool holds_for_number(const std::string& name, const JsonTree& operand, double value) {
    if (name == "minimum") return value >= number(operand);
    if (name == "maximum") return value <= number(operand);
    if (name == "exclusiveMinimum") return value > number(operand);
    if (name == "exclusiveMaximum") return value < number(operand);
    return true;
  }
  bool holds_for_array(const JsonTree& schema, const std::string& name, const JsonTree& operand,
                       const JsonTree& value) const {
    const auto size = static_cast<double>(value.items.size());
    if (name == "minItems") return size >= number(operand);
    if (name == "maxItems") return size <= number(operand);
    const JsonTree* prefix = schema.find("prefixItems");
    for (size_t i = 0; i < value.items.size(); ++i) {
      const bool in_prefix = prefix != nullptr && i < prefix->items.size();
      if (name == "prefixItems" && in_prefix && !valid(prefix->items[i], value.items[i])) {
        return false;
      }
      if (name == "items" && !in_prefix && !valid(operand, value.items[i])) return false;
    }
    return true;
  }
  bool holds_for_object(const JsonTree& schema, const std::string& name, const JsonTree& operand,
                        const JsonTree& value) const {
    if (name == "required") {
      return std::all_of(operand.items.begin(), operand.items.end(), [&](const JsonTree& needed) {
        return value.find(needed.text) != nullptr;
      });
    }
    const JsonTree* listed = schema.find("properties");
    for (const auto& [key, member] : value.members) {
      const JsonTree* own = listed != nullptr ? listed->find(key) : nullptr;
      if (name == "properties" && own != nullptr && !valid(*own, member)) return false;
      if (name == "additionalProperties" && own == nullptr && !valid(operand, member)) return false;
    }
    return true;
  }

  const JsonTree& root_;
};

}  // namespace ebb::models::grammar::testing
