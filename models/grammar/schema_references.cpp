// References inside a schema, and what can be told about two schemas without compiling them.
#include <algorithm>
#include <cstdlib>

#include "models/grammar/schema_compiler.h"

namespace ebb::models::grammar {
namespace {

using Kind = JsonTree::Kind;

/// References that lead to references.
constexpr int kChainMax = 64;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// One step of a pointer as a name: %XX, ~1 and ~0 undone.
std::string pointer_name(std::string_view step) {
  std::string plain;
  for (size_t i = 0; i < step.size(); ++i) {
    const bool coded = step[i] == '%' && i + 2 < step.size() && hex_value(step[i + 1]) >= 0 &&
                       hex_value(step[i + 2]) >= 0;
    if (coded) {
      plain += static_cast<char>(hex_value(step[i + 1]) * 16 + hex_value(step[i + 2]));
      i += 2;
    } else {
      plain += step[i];
    }
  }
  std::string name;
  for (size_t i = 0; i < plain.size(); ++i) {
    const bool escaped = plain[i] == '~' && i + 1 < plain.size();
    if (escaped && plain[i + 1] == '1') name += '/';
    if (escaped && plain[i + 1] == '0') name += '~';
    if (!escaped || (plain[i + 1] != '0' && plain[i + 1] != '1')) {
      name += plain[i];
    } else {
      ++i;
    }
  }
  return name;
}

const JsonTree* step_into(const JsonTree& node, const std::string& name) {
  if (node.is(Kind::kObject)) return node.find(name);
  const bool index = node.is(Kind::kArray) && !name.empty() && name.size() < 8 &&
                     name.find_first_not_of("0123456789") == std::string::npos;
  if (!index) return nullptr;
  const auto at = static_cast<size_t>(std::strtoul(name.c_str(), nullptr, 10));
  return at < node.items.size() ? &node.items[at] : nullptr;
}

/// Follows references; null: a chain without end, or a broken one.
const JsonTree* target_of(const JsonTree& root, const JsonTree& node) {
  const JsonTree* at = &node;
  for (int i = 0; i < kChainMax; ++i) {
    const JsonTree* reference = at->find("$ref");
    if (reference == nullptr) return at;
    const auto target = resolve_reference(root, *reference, "");
    if (!target) return nullptr;
    at = *target;
  }
  return nullptr;
}

/// The values that `const` or `enum` list, none when the schema lists none.
std::optional<std::span<const JsonTree>> listed_values(const JsonTree& node) {
  if (const JsonTree* value = node.find("const")) return std::span(value, 1);
  const JsonTree* values = node.find("enum");
  if (values == nullptr || !values->is(Kind::kArray)) return {};
  return std::span<const JsonTree>(values->items);
}

bool are_equal(const JsonTree& a, const JsonTree& b) {
  const auto is_number = [](const JsonTree& v) {
    return v.is(Kind::kInteger) || v.is(Kind::kReal);
  };
  if (is_number(a) && is_number(b)) {
    return std::strtod(a.text.c_str(), nullptr) == std::strtod(b.text.c_str(), nullptr);
  }
  // Containers: taken for equal when of one kind; their members may come in another order.
  if (a.is(Kind::kArray) || a.is(Kind::kObject)) return a.kind == b.kind;
  return a.kind == b.kind && a.text == b.text && a.boolean == b.boolean;
}

bool lists_differ(const JsonTree& a, const JsonTree& b) {
  const auto of_a = listed_values(a), of_b = listed_values(b);
  if (!of_a || !of_b) return false;
  return std::none_of(of_a->begin(), of_a->end(), [&](const JsonTree& value) {
    return std::any_of(of_b->begin(), of_b->end(),
                       [&](const JsonTree& other) { return are_equal(value, other); });
  });
}

/// Every type that a value may have; kEveryType when that is not plain.
SchemaTypes possible_types(const JsonTree& node) {
  SchemaTypes types = kEveryType;
  if (const JsonTree* type = node.find("type")) {
    const auto read = read_types(*type, "");
    if (read) types = *read;
  }
  if (const auto values = listed_values(node)) {
    SchemaTypes of_values = 0;
    for (const JsonTree& value : *values) of_values |= types_of_value(value);
    types &= of_values;
  }
  return types;
}

bool requires_name(const JsonTree& node, const std::string& name) {
  const JsonTree* names = node.find("required");
  return names != nullptr &&
         std::any_of(names->items.begin(), names->items.end(), [&](const JsonTree& item) {
           return item.is(Kind::kString) && item.text == name;
         });
}

/// Both are objects that require a property whose listed values differ.
bool told_apart_by_a_property(const JsonTree& root, const JsonTree& a, const JsonTree& b) {
  const JsonTree* of_a = a.find("properties");
  const JsonTree* of_b = b.find("properties");
  if (of_a == nullptr || of_b == nullptr) return false;
  for (const auto& [name, schema] : of_a->members) {
    const JsonTree* other = of_b->find(name);
    if (other == nullptr || !requires_name(a, name) || !requires_name(b, name)) continue;
    const JsonTree* first = target_of(root, schema);
    const JsonTree* second = target_of(root, *other);
    if (first != nullptr && second != nullptr && lists_differ(*first, *second)) return true;
  }
  return false;
}

}  // namespace

Result<const JsonTree*> resolve_reference(const JsonTree& root, const JsonTree& reference,
                                          const std::string& path) {
  const bool local = reference.is(Kind::kString) && reference.text.starts_with("#") &&
                     (reference.text.size() == 1 || reference.text[1] == '/');
  if (!local) {
    return schema_error(path, "must point into this schema (\"#\" or \"#/$defs/name\"), not be " +
                                  json_text(reference));
  }
  const JsonTree* node = &root;
  std::string_view rest = std::string_view(reference.text).substr(1);
  while (!rest.empty() && node != nullptr) {
    rest.remove_prefix(1);
    const std::string_view step = rest.substr(0, rest.find('/'));
    rest.remove_prefix(step.size());
    node = step_into(*node, pointer_name(step));
  }
  if (node == nullptr) return schema_error(path, json_text(reference) + " points to nothing");
  return node;
}

bool are_disjoint(const JsonTree& root, const JsonTree& a, const JsonTree& b) {
  const JsonTree* first = target_of(root, a);
  const JsonTree* second = target_of(root, b);
  if (first == nullptr || second == nullptr) return false;
  // A number's types are tested by kTypeNumber too: 1.0 may be an integer of the other.
  const SchemaTypes common = possible_types(*first) & possible_types(*second);
  if (common == 0 || lists_differ(*first, *second)) return true;
  return common == kTypeObject && told_apart_by_a_property(root, *first, *second);
}

}  // namespace ebb::models::grammar
