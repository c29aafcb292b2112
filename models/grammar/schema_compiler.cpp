#include "models/grammar/schema_compiler.h"

#include <algorithm>

namespace ebb::models::grammar {
namespace {

using Kind = JsonTree::Kind;

/// Every two alternatives are compared.
constexpr size_t kOneOfMax = 64;

/// The kinds that a node without `type` is for: those of its keywords, or all when it has none.
/// (By the standard values of other kinds would be valid too; nobody wants them generated.)
SchemaTypes types_of_keywords(const JsonTree& node) {
  SchemaTypes types = 0;
  for (const auto& [name, value] : node.members) {
    const auto group = keyword_group(name);
    if (group == KeywordGroup::kString) types |= kTypeString;
    if (group == KeywordGroup::kNumber) types |= kTypeNumber | kTypeInteger;
    if (group == KeywordGroup::kArray) types |= kTypeArray;
    if (group == KeywordGroup::kObject) types |= kTypeObject;
  }
  return types == 0 ? kEveryType : types;
}

bool is_schema(const JsonTree& value) { return value.is(Kind::kObject) || value.is(Kind::kBool); }

}  // namespace

Rule SchemaCompiler::rule_of(const JsonTree& node, const std::string& path) {
  const auto [found, fresh] = rules_.try_emplace(&node, 0);
  if (fresh) {
    found->second = builder_.add_rule();
    due_.push_back({&node, path, found->second});
  }
  return found->second;
}

Result<Grammar> SchemaCompiler::compile() {
  const Rule root = rule_of(root_, "");
  while (!due_.empty() && !builder_.full()) {
    const Due due = std::move(due_.front());
    due_.pop_front();
    EBB_TRY_VOID(add_node(due));
  }
  return builder_.finish(root);
}

Result<void> SchemaCompiler::check_keywords(const JsonTree& node, const std::string& path) const {
  for (const auto& [name, value] : node.members) {
    const auto group = keyword_group(name);
    if (!group) return schema_error(member_path(path, name), "is not supported");
    const bool definitions = name == "$defs" || name == "definitions";
    if (definitions && !value.is(Kind::kObject)) {
      return schema_error(member_path(path, name), "must be an object");
    }
  }
  return {};
}

Result<void> SchemaCompiler::add_node(const Due& due) {
  const JsonTree& node = *due.node;
  const Span span{builder_.start(due.rule), builder_.accept(due.rule)};
  if (!is_schema(node)) {
    return schema_error(due.path, std::string("must be a schema (an object or a boolean), not ") +
                                      json_tree_kind(node));
  }
  if (node.is(Kind::kBool)) {
    if (node.boolean) builder_.add_call(span.from, json_.any(), span.to);
    return {};
  }
  EBB_TRY_VOID(check_keywords(node, due.path));
  if (node.find("$ref") != nullptr) return add_reference(node, due.path, span);
  if (node.find("const") != nullptr || node.find("enum") != nullptr) {
    return add_values(node, due.path, span);
  }
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    if (node.find(keyword) != nullptr) return add_any_of(node, due.path, keyword, span);
  }
  if (node.find("allOf") != nullptr) return add_all_of(node, due.path, span);
  return add_types(node, due.path, span);
}

Result<void> SchemaCompiler::add_reference(const JsonTree& node, const std::string& path,
                                           Span span) {
  EBB_TRY_VOID(stands_alone(node, path, "$ref", false));
  const JsonTree& reference = *node.find("$ref");
  const std::string at = member_path(path, "$ref");
  const JsonTree* target = EBB_TRY(resolve_reference(root_, reference, at));
  builder_.add_call(span.from, rule_of(*target, reference.text), span.to);
  return {};
}

Result<void> SchemaCompiler::add_values(const JsonTree& node, const std::string& path, Span span) {
  const JsonTree* single = node.find("const");
  const std::string keyword = single != nullptr ? "const" : "enum";
  EBB_TRY_VOID(stands_alone(node, path, keyword, true));
  const JsonTree& values = *node.find(keyword);
  const std::string at = member_path(path, keyword);
  if (single == nullptr && (!values.is(Kind::kArray) || values.items.empty())) {
    return schema_error(at, "must be a list of at least one value");
  }
  SchemaTypes types = kEveryType;
  if (const JsonTree* type = node.find("type")) {
    types = EBB_TRY(read_types(*type, member_path(path, "type")));
  }
  const std::span<const JsonTree> list =
      single != nullptr ? std::span(single, 1) : std::span(values.items);
  for (const JsonTree& value : list) {
    if ((types_of_value(value) & types) == 0) continue;
    builder_.add_text(span.from, json_text(value), span.to);
  }
  return {};
}

Result<void> SchemaCompiler::add_any_of(const JsonTree& node, const std::string& path,
                                        std::string_view keyword, Span span) {
  EBB_TRY_VOID(stands_alone(node, path, keyword, false));
  const JsonTree& list = *node.find(keyword);
  const std::string at = member_path(path, std::string(keyword));
  if (!list.is(Kind::kArray) || list.items.empty()) {
    return schema_error(at, "must be a list of at least one schema");
  }
  if (keyword == "oneOf" && list.items.size() > kOneOfMax) {
    return schema_error(at, "must have at most " + std::to_string(kOneOfMax) + " alternatives");
  }
  for (size_t i = 0; i < list.items.size(); ++i) {
    const JsonTree& item = list.items[i];
    const std::string here = at + "[" + std::to_string(i) + "]";
    builder_.add_call(span.from, rule_of(item, here), span.to);
    for (size_t j = 0; keyword == "oneOf" && j < i; ++j) {
      if (are_disjoint(root_, list.items[j], item)) continue;
      return schema_error(here, "may admit a value that " + at + "[" + std::to_string(j) +
                                    "] admits too: oneOf needs alternatives that differ in type, "
                                    "in listed values, or in such values of a property that each "
                                    "requires; anyOf does not");
    }
  }
  return {};
}

Result<void> SchemaCompiler::add_all_of(const JsonTree& node, const std::string& path, Span span) {
  EBB_TRY_VOID(stands_alone(node, path, "allOf", false));
  const JsonTree& list = *node.find("allOf");
  const std::string at = member_path(path, "allOf");
  if (!list.is(Kind::kArray) || list.items.size() != 1) {
    return schema_error(at, "is supported with one schema only");
  }
  builder_.add_call(span.from, rule_of(list.items[0], at + "[0]"), span.to);
  return {};
}

Result<void> SchemaCompiler::add_types(const JsonTree& node, const std::string& path, Span span) {
  SchemaTypes types = types_of_keywords(node);
  if (const JsonTree* type = node.find("type")) {
    types = EBB_TRY(read_types(*type, member_path(path, "type")));
  }
  if (types & kTypeNull) builder_.add_call(span.from, json_.null(), span.to);
  if (types & kTypeBoolean) builder_.add_call(span.from, json_.boolean(), span.to);
  if (types & (kTypeInteger | kTypeNumber)) EBB_TRY_VOID(add_number(node, path, types, span));
  if (types & kTypeString) EBB_TRY_VOID(add_string(node, path, span));
  if (types & kTypeArray) EBB_TRY_VOID(add_array(node, path, span));
  if (types & kTypeObject) EBB_TRY_VOID(add_object(node, path, span));
  return {};
}

}  // namespace ebb::models::grammar
