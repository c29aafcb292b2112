#include "models/config_facts.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "models/shown_text.h"

namespace ebb::models {
namespace {

using grammar::JsonTree;
using Kind = JsonTree::Kind;

/// Objects whose members are facts of their own.
constexpr std::string_view kOpenObjects[] = {"rope_scaling", "rope_parameters"};

std::optional<double> as_number(const JsonTree& value) {
  if (!value.is(Kind::kInteger) && !value.is(Kind::kReal)) return std::nullopt;
  double number = 0;
  const char* const end = value.text.data() + value.text.size();
  const auto [at, problem] = std::from_chars(value.text.data(), end, number);
  if (problem != std::errc() || at != end) return std::nullopt;  // beyond what a double holds
  return number;
}

/// A whole number, also one written as 8192.0; counts of models fit a double's 53 bits.
std::optional<uint64_t> as_integer(const JsonTree& value) {
  const std::optional<double> number = as_number(value);
  if (!number || *number < 0 || *number > 0x1p53 || *number != std::floor(*number))
    return std::nullopt;
  return static_cast<uint64_t>(*number);
}

/// Whether a value says more than "none".
bool tells(const JsonTree& value) {
  switch (value.kind) {
    case Kind::kNull:
      return false;
    case Kind::kBool:
      return value.boolean;
    case Kind::kInteger:
    case Kind::kReal:
      return as_number(value).value_or(1) != 0;
    case Kind::kString:
      return !value.text.empty();
    case Kind::kArray:
      return !value.items.empty();
    case Kind::kObject:
      return !value.members.empty();
  }
  return true;
}

bool is_open(std::string_view name, const JsonTree& value) {
  for (const std::string_view open : kOpenObjects)
    if (open == name) return value.is(Kind::kObject);
  return false;
}

}  // namespace

Result<ConfigFacts> ConfigFacts::parse(std::string_view text) {
  Result<JsonTree> root = grammar::parse_json_tree(text);
  if (!root) return with_context("config.json", root.error());
  if (!root->is(Kind::kObject))
    return invalid(std::string("config.json: is ") + json_tree_kind(*root) + ", wanted an object");
  return ConfigFacts(*std::move(root));
}

std::string ConfigFacts::shown(std::string_view key) const {
  return "config.json: " + shown_text(key);
}

const JsonTree* ConfigFacts::find(std::string_view key) const {
  if (const Tree* value = root_.find(key)) return value;
  const size_t dot = key.find('.');
  if (dot == std::string_view::npos) return nullptr;
  const Tree* object = root_.find(key.substr(0, dot));
  return object == nullptr ? nullptr : object->find(key.substr(dot + 1));
}

Result<const JsonTree*> ConfigFacts::get(std::string_view key) const {
  const Tree* value = find(key);
  if (value == nullptr) return not_found(shown(key) + ": not there");
  return value;
}

Error ConfigFacts::wrong_type(std::string_view key, const Tree& value, const char* wanted) const {
  std::string what = json_tree_kind(value);
  if (value.is(Kind::kInteger) || value.is(Kind::kReal)) what = shown_text(value.text);
  return invalid(shown(key) + ": is " + what + ", wanted " + wanted);
}

bool ConfigFacts::has_value(std::string_view key) const {
  const Tree* value = find(key);
  return value != nullptr && !value->is(Kind::kNull);
}

Result<uint64_t> ConfigFacts::read_integer(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  const std::optional<uint64_t> number = as_integer(*value);
  if (!number) return wrong_type(key, *value, "a whole number from 0 up");
  return *number;
}

Result<double> ConfigFacts::read_number(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  const std::optional<double> number = as_number(*value);
  if (!number) return wrong_type(key, *value, "a number");
  return *number;
}

Result<bool> ConfigFacts::read_flag(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  if (!value->is(Kind::kBool)) return wrong_type(key, *value, "true or false");
  return value->boolean;
}

Result<std::string> ConfigFacts::read_text(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  if (!value->is(Kind::kString)) return wrong_type(key, *value, "a string");
  return value->text;
}

Result<std::vector<uint64_t>> ConfigFacts::read_integers(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  if (!value->is(Kind::kArray)) return wrong_type(key, *value, "a list");
  std::vector<uint64_t> numbers;
  for (const Tree& item : value->items) {
    std::optional<uint64_t> number = as_integer(item);
    if (item.is(Kind::kBool)) number = item.boolean ? 1 : 0;
    if (!number) return wrong_type(key, item, "a list of whole numbers");
    numbers.push_back(*number);
  }
  return numbers;
}

Result<std::vector<std::string>> ConfigFacts::read_texts(std::string_view key) const {
  const Tree* value = EBB_TRY(get(key));
  if (!value->is(Kind::kArray)) return wrong_type(key, *value, "a list");
  std::vector<std::string> texts;
  for (const Tree& item : value->items) {
    if (!item.is(Kind::kString)) return wrong_type(key, item, "a list of strings");
    texts.push_back(item.text);
  }
  return texts;
}

std::vector<std::string> ConfigFacts::telling_keys() const {
  std::vector<std::string> keys;
  for (const auto& [name, value] : root_.members) {
    if (!is_open(name, value)) {
      if (tells(value)) keys.push_back(name);
      continue;
    }
    for (const auto& [member, inner] : value.members)
      if (tells(inner)) keys.push_back(name + "." + member);
  }
  return keys;
}

}  // namespace ebb::models
