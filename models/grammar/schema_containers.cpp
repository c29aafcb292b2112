// Arrays and objects of a schema. The members of an object come in the order of the schema.
#include <algorithm>

#include "models/grammar/schema_compiler.h"

namespace ebb::models::grammar {
namespace {

using Kind = JsonTree::Kind;

constexpr uint32_t kItemsMax = 16384;

}  // namespace

/// What `items`, `prefixItems`, `minItems` and `maxItems` say. Without `items`, there are none
/// behind a prefix unless minItems wants them.
Result<SchemaCompiler::Items> SchemaCompiler::read_items(const JsonTree& node,
                                                         const std::string& path) {
  Items items;
  if (const JsonTree* value = node.find("minItems")) {
    items.min = EBB_TRY(read_count(*value, member_path(path, "minItems"), kItemsMax));
  }
  if (const JsonTree* value = node.find("maxItems")) {
    items.max = EBB_TRY(read_count(*value, member_path(path, "maxItems"), kItemsMax));
  }
  const JsonTree* prefix = node.find("prefixItems");
  if (prefix != nullptr) {
    const std::string at = member_path(path, "prefixItems");
    if (!prefix->is(Kind::kArray) || prefix->items.empty()) {
      return schema_error(at, "must be a list of at least one schema");
    }
    for (size_t i = 0; i < prefix->items.size(); ++i) {
      items.first.push_back(rule_of(prefix->items[i], at + "[" + std::to_string(i) + "]"));
    }
  }
  const JsonTree* rest = node.find("items");
  items.rest = rest != nullptr ? rule_of(*rest, member_path(path, "items")) : json_.any();
  const auto prefix_size = static_cast<uint32_t>(items.first.size());
  if (prefix != nullptr && rest == nullptr && items.min <= prefix_size) {
    items.max = std::min(items.max.value_or(prefix_size), prefix_size);
  }
  if (items.max && *items.max < items.min) {
    return schema_error(path, "maxItems is less than minItems");
  }
  return items;
}

Result<void> SchemaCompiler::add_array(const JsonTree& node, const std::string& path, Span span) {
  const Items items = EBB_TRY(read_items(node, path));
  const auto prefix_size = static_cast<uint32_t>(items.first.size());
  const State open = builder_.add_state(), close = builder_.add_state();
  const State done = builder_.add_state();  // at least one item, and enough of them
  State next = builder_.add_state();
  builder_.add_bytes(span.from, '[', '[', open);
  json_.add_layout(open, next);
  if (items.min == 0) builder_.add_skip(next, close);
  const uint32_t counted = items.max.value_or(std::max(items.min, prefix_size));
  for (uint32_t i = 0; i < counted && !builder_.full(); ++i) {
    const State at = builder_.add_state();
    const Rule item = i < prefix_size ? items.first[i] : items.rest;
    builder_.add_call(next, item, at, Nesting::kDeeper);
    if (i + 1 >= items.min) builder_.add_skip(at, done);
    const State comma = builder_.add_state();
    next = builder_.add_state();
    if (i + 1 == counted && items.max) break;
    builder_.add_bytes(at, ',', ',', comma);
    json_.add_layout(comma, next);
  }
  if (!items.max) {
    const State again = builder_.add_state(), at = builder_.add_state();
    const State comma = builder_.add_state();
    builder_.add_skip(next, again);
    builder_.add_call(again, items.rest, at, Nesting::kDeeper);
    builder_.add_skip(at, done);
    builder_.add_bytes(at, ',', ',', comma);
    json_.add_layout(comma, again);
  }
  json_.add_layout(done, close);
  builder_.add_bytes(close, ']', ']', span.to);
  return {};
}

/// What properties without a schema of their own may hold; none: there are no such properties.
/// Absent beside `properties`, additionalProperties stands for none: an answer that leaves them out
/// is always valid.
Result<std::optional<Rule>> SchemaCompiler::other_properties(const JsonTree& node,
                                                             const std::string& path) {
  const JsonTree* more = node.find("additionalProperties");
  if (more == nullptr) {
    if (node.find("properties") != nullptr) return std::optional<Rule>();
    return std::optional(json_.any());
  }
  if (more->is(Kind::kBool) && !more->boolean) return std::optional<Rule>();
  return std::optional(rule_of(*more, member_path(path, "additionalProperties")));
}

Result<std::vector<SchemaCompiler::Property>> SchemaCompiler::read_properties(
    const JsonTree& node, const std::string& path, std::optional<Rule> others) {
  std::set<std::string> required;
  if (const JsonTree* names = node.find("required")) {
    required = EBB_TRY(read_names(*names, member_path(path, "required")));
  }
  std::vector<Property> properties;
  if (const JsonTree* listed = node.find("properties")) {
    const std::string at = member_path(path, "properties");
    if (!listed->is(Kind::kObject)) return schema_error(at, "must be an object");
    for (const auto& [name, schema] : listed->members) {
      const bool must = required.erase(name) > 0;
      properties.push_back({name, rule_of(schema, member_path(at, name)), must});
    }
  }
  // Names that are required only: any value, or what additionalProperties says.
  const JsonTree* more = node.find("additionalProperties");
  for (const std::string& name : required) {
    if (more != nullptr && !others) {
      return schema_error(member_path(path, "required"),
                          "\"" + name +
                              "\" is not in properties, and additionalProperties is "
                              "false");
    }
    properties.push_back({name, others ? *others : json_.any(), true});
  }
  return properties;
}

Result<void> SchemaCompiler::add_object(const JsonTree& node, const std::string& path, Span span) {
  const auto others = EBB_TRY(other_properties(node, path));
  const auto properties = EBB_TRY(read_properties(node, path, others));
  add_members(span, properties, others);
  return {};
}

/// { a, b, c, others }: each optional one may be left out. For each property i there are the states
/// next[i] (a member may begin: i, or a later one if i is optional) and done[i] (a member is
/// complete, and the next could be i).
void SchemaCompiler::add_members(Span span, const std::vector<Property>& properties,
                                 std::optional<Rule> others) {
  const size_t count = properties.size();
  const State open = builder_.add_state(), close = builder_.add_state();
  const State complete = builder_.add_state();
  std::vector<State> next, done;
  for (size_t i = 0; i <= count; ++i) {
    next.push_back(builder_.add_state());
    done.push_back(builder_.add_state());
  }
  bool may_end = true;
  for (size_t i = count + 1; i-- > 0;) {
    if (i < count) may_end = may_end && !properties[i].required;
    if (may_end) builder_.add_skip(done[i], complete);
    const bool last = i == count;
    if (last && !others) continue;
    const State comma = builder_.add_state();
    builder_.add_bytes(done[i], ',', ',', comma);
    json_.add_layout(comma, next[i]);
    const State named = builder_.add_state();
    if (last) {
      std::vector<std::string> names;
      for (const Property& property : properties) names.push_back(property.name);
      json_.add_other_name(next[i], names, named);
      json_.add_value(named, *others, done[i]);
      continue;
    }
    builder_.add_text(next[i], json_string(properties[i].name), named);
    json_.add_value(named, properties[i].value, done[i + 1]);
    if (!properties[i].required) builder_.add_skip(next[i], next[i + 1]);
  }
  builder_.add_bytes(span.from, '{', '{', open);
  json_.add_layout(open, next[0]);
  const State nothing = builder_.add_state();
  if (may_end) json_.add_layout(open, nothing);
  builder_.add_bytes(nothing, '}', '}', span.to);
  json_.add_layout(complete, close);
  builder_.add_bytes(close, '}', '}', span.to);
}

}  // namespace ebb::models::grammar
