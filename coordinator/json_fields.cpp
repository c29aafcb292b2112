#include "coordinator/json_fields.h"

#include <algorithm>
#include <cstdio>

namespace ebb::coordinator {
namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const char* json_kind_name(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "a boolean";
    case JsonKind::kInteger:
      return "an integer";
    case JsonKind::kReal:
      return "a number";
    case JsonKind::kString:
      return "a string";
    case JsonKind::kArray:
      return "an array";
    case JsonKind::kObject:
      return "an object";
  }
  return "?";
}

std::optional<JsonNode> FieldReader::take(const std::string& name) {
  taken_.insert(name);
  if (failed()) return {};
  const auto node = object_.find(name);
  if (!node || node->kind() == JsonKind::kNull) return {};
  return node;
}

void FieldReader::fail(const std::string& name, const std::string& message) {
  if (failed()) return;
  error_ = bad_field(path(name), path(name) + " " + message);
}

void FieldReader::wrong_type(const std::string& name, const std::string& wanted, JsonNode got) {
  fail(name, "must be " + wanted + ", not " + json_kind_name(got.kind()));
}

std::optional<int64_t> FieldReader::integer(const std::string& name, int64_t min, int64_t max) {
  const auto node = take(name);
  if (!node) return {};
  const std::string wanted =
      "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  if (node->kind() == JsonKind::kReal) {
    fail(name, "must be " + wanted + ", not " + number_text(node->number()));
    return {};
  }
  if (node->kind() != JsonKind::kInteger) {
    wrong_type(name, wanted, *node);
    return {};
  }
  const auto value = node->integer();
  if (value && *value >= min && *value <= max) return value;
  fail(name, "must be " + wanted + ", not " +
                 (value ? std::to_string(*value) : number_text(node->number())));
  return {};
}

std::optional<uint32_t> FieldReader::u32(const std::string& name, uint32_t min, uint32_t max) {
  const auto value = integer(name, min, max);
  if (!value) return {};
  return static_cast<uint32_t>(*value);
}

std::optional<double> FieldReader::real(const std::string& name, double min, double max) {
  const auto node = take(name);
  if (!node) return {};
  const std::string wanted = "a number from " + number_text(min) + " to " + number_text(max);
  if (node->kind() != JsonKind::kInteger && node->kind() != JsonKind::kReal) {
    wrong_type(name, wanted, *node);
    return {};
  }
  const double value = node->number();
  if (value >= min && value <= max) return value;
  fail(name, "must be " + wanted + ", not " + number_text(value));
  return {};
}

std::optional<bool> FieldReader::boolean(const std::string& name) {
  const auto node = take(name);
  if (!node) return {};
  if (node->kind() == JsonKind::kBool) return node->boolean();
  wrong_type(name, "true or false", *node);
  return {};
}

std::optional<std::string> FieldReader::text(const std::string& name, size_t bytes_max) {
  const auto node = take(name);
  if (!node) return {};
  if (node->kind() != JsonKind::kString) {
    wrong_type(name, "a string", *node);
    return {};
  }
  if (node->text().size() <= bytes_max) return node->text();
  fail(name, "must have at most " + std::to_string(bytes_max) + " bytes, not " +
                 std::to_string(node->text().size()));
  return {};
}

std::vector<std::string> FieldReader::untaken() const {
  std::vector<std::string> names;
  for (std::string& name : object_.keys()) {
    if (!taken_.contains(name)) names.push_back(std::move(name));
  }
  return names;
}

std::string nearest_name(const std::string& name, const std::set<std::string>& known) {
  const std::string cut = name.substr(0, 64);
  std::string best;
  size_t best_distance = SIZE_MAX;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(cut, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string number_text(double value) {
  char text[40];
  const int n = std::snprintf(text, sizeof text, "%.12g", value);
  return std::string(text, static_cast<size_t>(n));
}

}  // namespace ebb::coordinator
