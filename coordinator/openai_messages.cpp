#include "coordinator/openai_messages.h"

namespace ebb::coordinator {
namespace {

/// One part of a content list; only text has a meaning for a text model.
void append_part(JsonNode part, const std::string& path, std::optional<ApiError>& error,
                 std::string& content) {
  if (part.kind() != JsonKind::kObject) {
    error = bad_field(path, path + " must be an object, not " + json_kind_name(part.kind()));
    return;
  }
  FieldReader fields(part, path + ".", error);
  const auto type = fields.text("type", 64);
  if (fields.failed()) return;
  if (type != "text") {
    return fields.fail(
        "type", "must be \"text\", not \"" + type.value_or("") + "\": the model reads text only");
  }
  const auto text = fields.text("text", SIZE_MAX);
  if (!text) return fields.fail("text", "is missing");
  content += *text;
}

void read_content(FieldReader& fields, std::optional<ApiError>& error, std::string& content) {
  const auto node = fields.take("content");
  if (fields.failed()) return;
  if (!node) return fields.fail("content", "is missing");
  if (node->kind() == JsonKind::kString) {
    content = node->text();
    return;
  }
  if (node->kind() != JsonKind::kArray) {
    return fields.fail("content", std::string("must be a string or a list of text parts, not ") +
                                      json_kind_name(node->kind()));
  }
  for (size_t i = 0; i < node->size() && !fields.failed(); ++i) {
    append_part(node->at(i), fields.path("content") + "[" + std::to_string(i) + "]", error,
                content);
  }
}

void read_message(JsonNode node, const std::string& path, std::optional<ApiError>& error,
                  OpenAiRequest& request) {
  if (node.kind() != JsonKind::kObject) {
    error = bad_field(path, path + " must be an object, not " + json_kind_name(node.kind()));
    return;
  }
  FieldReader fields(node, path + ".", error);
  models::ChatMessage message;
  const auto role = fields.text("role", 64);
  if (!role) return fields.fail("role", "is missing");
  message.role = *role == "developer" ? "system" : *role;  // OpenAI's newer name for the same
  if (message.role != "system" && message.role != "user" && message.role != "assistant") {
    return fields.fail("role",
                       "must be one of system, developer, user, assistant, not \"" + *role + "\"");
  }
  for (const char* name : {"tool_calls", "function_call", "tool_call_id"}) {
    const auto value = fields.take(name);
    const bool empty_list = value && value->kind() == JsonKind::kArray && value->size() == 0;
    if (value && !empty_list) return fields.fail(name, "is not supported: there are no tools");
  }
  read_content(fields, error, message.content);
  for (const std::string& name : fields.untaken()) request.ignored.push_back(fields.path(name));
  request.messages.push_back(std::move(message));
}

/// The answer begun: the last message is the model's own and is to be continued.
void read_continuation(FieldReader& fields, OpenAiRequest& request) {
  const auto add = fields.boolean("add_generation_prompt");
  request.continue_final_message = fields.boolean("continue_final_message").value_or(false);
  request.add_generation_prompt = add.value_or(!request.continue_final_message);
  if (!request.continue_final_message || fields.failed()) return;
  if (request.add_generation_prompt) {
    return fields.fail("continue_final_message", "and add_generation_prompt exclude each other");
  }
  const models::ChatMessage& last = request.messages.back();
  if (last.role != "assistant") {
    return fields.fail("continue_final_message",
                       "needs a last message of role assistant, not " + last.role);
  }
  if (last.content.empty()) {
    return fields.fail("continue_final_message", "needs a last message with content");
  }
}

}  // namespace

void read_messages(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request) {
  const auto list = fields.take("messages");
  if (fields.failed()) return;
  if (!list) return fields.fail("messages", "is missing");
  if (list->kind() != JsonKind::kArray) {
    return fields.fail("messages",
                       std::string("must be an array, not ") + json_kind_name(list->kind()));
  }
  if (list->size() == 0 || list->size() > kMessagesMax) {
    return fields.fail("messages", "must hold 1 to " + std::to_string(kMessagesMax) +
                                       " messages, not " + std::to_string(list->size()));
  }
  for (size_t i = 0; i < list->size() && !fields.failed(); ++i) {
    read_message(list->at(i), "messages[" + std::to_string(i) + "]", error, request);
  }
  if (!fields.failed()) read_continuation(fields, request);
}

}  // namespace ebb::coordinator
