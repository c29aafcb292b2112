#include "coordinator/openai_chat.h"

#include <algorithm>

#include "coordinator/openai_messages.h"
#include "coordinator/template_values.h"

namespace ebb::coordinator {

namespace jinja = models::jinja;

namespace {

constexpr uint32_t kToolsMax = 128;
constexpr uint32_t kDocumentsMax = 1024;
constexpr uint32_t kVariablesMax = 64;
constexpr size_t kNameBytesMax = 256;

/// Names of a template that fields of their own set.
constexpr const char* kFieldNames[] = {"messages", "tools", "documents", "add_generation_prompt",
                                       "continue_final_message"};

jinja::Value converted(JsonNode node, const std::string& path, std::optional<ApiError>& error) {
  auto value = template_value(node, path);
  if (value) return *std::move(value);
  if (!error) error = bad_field(path, value.error().message);
  return {};
}

/// A list of at most `most` objects; nothing when it is absent or empty.
std::optional<JsonNode> take_objects(FieldReader& fields, const std::string& name, uint32_t most) {
  const auto list = fields.take(name);
  if (!list) return {};
  if (list->kind() != JsonKind::kArray) {
    fields.fail(name, std::string("must be an array, not ") + json_kind_name(list->kind()));
  } else if (list->size() > most) {
    fields.fail(name, "must hold at most " + std::to_string(most) + " entries, not " +
                          std::to_string(list->size()));
  }
  if (fields.failed() || list->size() == 0) return {};
  for (size_t i = 0; i < list->size(); ++i) {
    if (list->at(i).kind() == JsonKind::kObject) continue;
    fields.fail(name + "[" + std::to_string(i) + "]",
                std::string("must be an object, not ") + json_kind_name(list->at(i).kind()));
    return {};
  }
  return list;
}

void check_tool(JsonNode tool, const std::string& path, std::optional<ApiError>& error) {
  FieldReader fields(tool, path + ".", error);
  const auto type = fields.text("type", 64);
  if (fields.failed()) return;
  if (type != "function") {
    return fields.fail("type", "must be \"function\", not \"" + type.value_or("") + "\"");
  }
  const auto function = fields.take("function");
  if (!function || function->kind() != JsonKind::kObject) {
    return fields.fail("function", "must be an object with a name");
  }
  FieldReader inner(*function, path + ".function.", error);
  if (!inner.text("name", kNameBytesMax)) inner.fail("name", "is missing");
}

/// With tool_choice "none" the model is not told of any.
void read_tools(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request) {
  const auto tools = take_objects(fields, "tools", kToolsMax);
  for (size_t i = 0; tools && i < tools->size(); ++i) {
    check_tool(tools->at(i), "tools[" + std::to_string(i) + "]", error);
  }
  const auto choice = fields.take("tool_choice");
  const bool text = choice && choice->kind() == JsonKind::kString;
  const bool none = text && choice->text() == "none";
  if (choice && !none && !(text && choice->text() == "auto")) {
    fields.fail("tool_choice", "is not supported: only \"none\" and \"auto\" are accepted");
  }
  if (tools && !none && !fields.failed()) request.chat.tools = converted(*tools, "tools", error);
}

void read_documents(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request) {
  const auto documents = take_objects(fields, "documents", kDocumentsMax);
  if (documents) request.chat.documents = converted(*documents, "documents", error);
}

void read_variables(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request) {
  const std::string name = "chat_template_kwargs";
  const auto node = fields.take(name);
  if (!node) return;
  if (node->kind() != JsonKind::kObject) {
    return fields.fail(name, std::string("must be an object, not ") + json_kind_name(node->kind()));
  }
  if (node->size() > kVariablesMax) {
    return fields.fail(name, "must hold at most " + std::to_string(kVariablesMax) + " names, not " +
                                 std::to_string(node->size()));
  }
  for (const std::string& variable : node->keys()) {
    const bool taken = std::find(std::begin(kFieldNames), std::end(kFieldNames), variable) !=
                       std::end(kFieldNames);
    if (taken) return fields.fail(name + "." + variable, "is a field of its own: put it there");
    request.chat.variables.entries.emplace_back(
        variable, converted(*node->find(variable), name + "." + variable, error));
  }
}

/// The answer begun: the last message is the model's own and is to be continued.
void read_continuation(FieldReader& fields, OpenAiRequest& request) {
  const auto add = fields.boolean("add_generation_prompt");
  models::ChatInput& chat = request.chat;
  chat.continue_final_message = fields.boolean("continue_final_message").value_or(false);
  chat.add_generation_prompt = add.value_or(!chat.continue_final_message);
  if (!chat.continue_final_message || fields.failed()) return;
  if (chat.add_generation_prompt) {
    return fields.fail("continue_final_message", "and add_generation_prompt exclude each other");
  }
  const jinja::Dict& last = *chat.messages.back().dict();
  const std::string& role = *last.find("role")->string();
  if (role != "assistant") {
    return fields.fail("continue_final_message",
                       "needs a last message of role assistant, not " + role);
  }
  if (const jinja::Value* content = last.find("content"); !content || !content->truthy()) {
    return fields.fail("continue_final_message", "needs a last message with content");
  }
}

}  // namespace

void read_chat(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request) {
  read_messages(fields, error, request);
  read_tools(fields, error, request);
  read_documents(fields, error, request);
  // A model may have several templates; the text of another one is not taken from a client.
  request.chat.template_name = fields.text("chat_template", kNameBytesMax).value_or("");
  read_variables(fields, error, request);
  if (!fields.failed()) read_continuation(fields, request);
}

}  // namespace ebb::coordinator
