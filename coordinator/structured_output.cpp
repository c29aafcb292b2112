#include "coordinator/structured_output.h"

#include <charconv>

#include "models/grammar/constraint.h"
#include "models/grammar/json_tree.h"

namespace ebb::coordinator {
namespace {

namespace grammar = models::grammar;
using control::ConstraintKind;
using grammar::JsonTree;

constexpr size_t kNameBytesMax = 256;
constexpr size_t kDescriptionBytesMax = 16384;

grammar::ConstraintKind grammar_kind(ConstraintKind kind) {
  switch (kind) {
    case ConstraintKind::kNone:
      return grammar::ConstraintKind::kNone;
    case ConstraintKind::kJsonObject:
      return grammar::ConstraintKind::kJsonObject;
    case ConstraintKind::kJsonSchema:
      return grammar::ConstraintKind::kJsonSchema;
    case ConstraintKind::kRegex:
      return grammar::ConstraintKind::kRegex;
    case ConstraintKind::kChoice:
      return grammar::ConstraintKind::kChoice;
  }
  return grammar::ConstraintKind::kNone;
}

/// The shortest digits that are this number again.
std::string digits(double value) {
  char text[40];
  const auto written = std::to_chars(text, text + sizeof text, value);
  return std::string(text, written.ptr);
}

/// A value of the body with its order; its depth is bounded by the body's.
JsonTree tree_of(JsonNode node) {
  JsonTree tree;
  switch (node.kind()) {
    case JsonKind::kNull:
      break;
    case JsonKind::kBool:
      tree.kind = JsonTree::Kind::kBool;
      tree.boolean = node.boolean();
      break;
    case JsonKind::kInteger: {
      tree.kind = JsonTree::Kind::kInteger;
      const auto small = node.integer();
      tree.text = small ? std::to_string(*small) : digits(node.number());
      break;
    }
    case JsonKind::kReal:
      tree.kind = JsonTree::Kind::kReal;
      tree.text = digits(node.number());
      break;
    case JsonKind::kString:
      tree.kind = JsonTree::Kind::kString;
      tree.text = node.text();
      break;
    case JsonKind::kArray:
      tree.kind = JsonTree::Kind::kArray;
      for (size_t i = 0; i < node.size(); ++i) tree.items.push_back(tree_of(node.at(i)));
      break;
    case JsonKind::kObject:
      tree.kind = JsonTree::Kind::kObject;
      for (std::string& name : node.keys()) {
        JsonTree value = tree_of(*node.find(name));
        tree.members.emplace_back(std::move(name), std::move(value));
      }
      break;
  }
  return tree;
}

/// One constraint a request: the first that is read, unless it does not compile.
void set_constraint(FieldReader& fields, const std::string& name, ConstraintKind kind,
                    std::string source, OpenAiRequest& request) {
  if (fields.failed()) return;
  if (request.constraint.kind != ConstraintKind::kNone) {
    return fields.fail(name,
                       "is one demand too many: one of response_format and the members of "
                       "structured_outputs is possible");
  }
  const auto compiled = grammar::compile_constraint(grammar_kind(kind), source);
  if (!compiled) return fields.fail(name, compiled.error().message);
  request.constraint = {kind, std::move(source)};
}

/// A schema as an object, or as text that holds one.
void set_schema(FieldReader& fields, const std::string& name, JsonNode schema,
                OpenAiRequest& request) {
  std::string source =
      schema.kind() == JsonKind::kString ? schema.text() : grammar::json_text(tree_of(schema));
  set_constraint(fields, name, ConstraintKind::kJsonSchema, std::move(source), request);
}

void set_choice(FieldReader& fields, const std::string& name, JsonNode list,
                OpenAiRequest& request) {
  set_constraint(fields, name, ConstraintKind::kChoice, grammar::json_text(tree_of(list)), request);
}

void set_regex(FieldReader& fields, const std::string& name, OpenAiRequest& request) {
  auto pattern = fields.text(name, 1 << 20);
  if (!pattern) return;
  set_constraint(fields, name, ConstraintKind::kRegex, *std::move(pattern), request);
}

/// {"name", "schema", "strict", "description"}: strict or not, the schema is obeyed.
void read_json_schema(FieldReader& format, std::optional<ApiError>& error, OpenAiRequest& request) {
  const auto node = format.take("json_schema");
  if (format.failed()) return;
  if (!node || node->kind() != JsonKind::kObject) {
    return format.fail("json_schema", "must be an object with a schema");
  }
  FieldReader fields(*node, format.path("json_schema."), error);
  fields.text("name", kNameBytesMax);
  fields.text("description", kDescriptionBytesMax);
  fields.boolean("strict");
  const auto schema = fields.take("schema");
  if (fields.failed()) return;
  if (!schema) return fields.fail("schema", "is missing");
  set_schema(fields, "schema", *schema, request);
  for (const std::string& name : fields.untaken()) request.ignored.push_back(fields.path(name));
}

void read_response_format(FieldReader& outer, std::optional<ApiError>& error,
                          OpenAiRequest& request) {
  const auto node = outer.take("response_format");
  if (!node) return;
  if (node->kind() != JsonKind::kObject) {
    return outer.fail("response_format", "must be an object with a type");
  }
  FieldReader fields(*node, "response_format.", error);
  const auto type = fields.text("type", 64);
  if (fields.failed()) return;
  if (type == "json_schema") {
    read_json_schema(fields, error, request);
  } else if (type == "json_object") {
    set_constraint(outer, "response_format", ConstraintKind::kJsonObject, "", request);
  } else if (type != "text") {
    fields.fail("type", "must be one of text, json_object, json_schema" +
                            (type ? ", not \"" + *type + "\"" : std::string()));
  }
  for (const std::string& name : fields.untaken()) request.ignored.push_back(fields.path(name));
}

void read_structured_outputs(FieldReader& outer, std::optional<ApiError>& error,
                             OpenAiRequest& request) {
  const auto node = outer.take("structured_outputs");
  if (!node) return;
  if (node->kind() != JsonKind::kObject) {
    return outer.fail("structured_outputs",
                      "must be an object with json, json_object, regex or "
                      "choice");
  }
  FieldReader fields(*node, "structured_outputs.", error);
  if (const auto schema = fields.take("json")) set_schema(fields, "json", *schema, request);
  if (fields.boolean("json_object").value_or(false)) {
    set_constraint(fields, "json_object", ConstraintKind::kJsonObject, "", request);
  }
  set_regex(fields, "regex", request);
  if (const auto choice = fields.take("choice")) set_choice(fields, "choice", *choice, request);
  for (const std::string& name : fields.untaken()) {
    fields.fail(name, "is not supported: known are json, json_object, regex and choice");
  }
}

}  // namespace

void read_structured_output(FieldReader& fields, std::optional<ApiError>& error,
                            OpenAiRequest& request) {
  read_response_format(fields, error, request);
  read_structured_outputs(fields, error, request);
  if (const auto schema = fields.take("guided_json")) {
    set_schema(fields, "guided_json", *schema, request);
  }
  set_regex(fields, "guided_regex", request);
  if (const auto choice = fields.take("guided_choice")) {
    set_choice(fields, "guided_choice", *choice, request);
  }
}

}  // namespace ebb::coordinator
