#include "coordinator/template_values.h"

namespace ebb::coordinator {

namespace jinja = models::jinja;

namespace {

Result<jinja::Value> list_value(JsonNode node, const std::string& path) {
  jinja::List list;
  list.reserve(node.size());
  for (size_t i = 0; i < node.size(); ++i) {
    list.push_back(EBB_TRY(template_value(node.at(i), path + "[" + std::to_string(i) + "]")));
  }
  return jinja::Value(std::move(list));
}

Result<jinja::Value> object_value(JsonNode node, const std::string& path) {
  jinja::Dict dict;
  for (std::string& name : node.keys()) {
    jinja::Value value = EBB_TRY(template_value(*node.find(name), path + "." + name));
    dict.entries.emplace_back(std::move(name), std::move(value));
  }
  return jinja::Value(std::move(dict));
}

}  // namespace

Result<jinja::Value> template_value(JsonNode node, const std::string& path) {
  switch (node.kind()) {
    case JsonKind::kNull:
      return jinja::Value();
    case JsonKind::kBool:
      return jinja::Value(node.boolean());
    case JsonKind::kInteger:
      if (const auto integer = node.integer()) return jinja::Value(*integer);
      return invalid(path + " must be an integer of at most 64 bits, not " +
                     number_text(node.number()));
    case JsonKind::kReal:
      return jinja::Value(node.number());
    case JsonKind::kString:
      return jinja::Value(node.text());
    case JsonKind::kArray:
      return list_value(node, path);
    case JsonKind::kObject:
      return object_value(node, path);
  }
  return jinja::Value();
}

}  // namespace ebb::coordinator
