#include "coordinator/openai_messages.h"

#include "coordinator/template_values.h"

namespace ebb::coordinator {

namespace jinja = models::jinja;

namespace {

constexpr uint32_t kCallsMax = 128;  ///< of one message
constexpr size_t kNameBytesMax = 256;

/// A value of a message, twice: as templates want it, and as the client gave it.
struct TwoForms {
  jinja::Value wanted;
  jinja::Value given;
  TwoForms() = default;
  TwoForms(jinja::Value both) : wanted(both), given(std::move(both)) {}  // NOLINT: implicit
  TwoForms(jinja::Value w, jinja::Value g) : wanted(std::move(w)), given(std::move(g)) {}
};

class MessageReader {
 public:
  MessageReader(JsonNode node, std::string path, std::optional<ApiError>& error)
      : node_(node), path_(std::move(path)), error_(error), fields_(node, path_ + ".", error) {}

  /// The message; `differs` is set when its two forms do. What is null is left out, as transformers
  /// does, but for the content in the form that the client gave.
  TwoForms read(bool& differs) {
    const std::string role = read_role();
    if (fields_.failed()) return {};
    TwoForms calls = read_calls(role, differs);
    TwoForms content = read_content(role, !calls.wanted.is_none());
    fields_.text("name", kNameBytesMax);
    fields_.text("tool_call_id", kNameBytesMax);
    if (fields_.take("function_call")) {
      fields_.fail("function_call", "is not supported: use tool_calls");
    }
    jinja::Dict wanted, given;
    const auto put = [&](const std::string& name, TwoForms value) {
      wanted.entries.emplace_back(name, std::move(value.wanted));
      given.entries.emplace_back(name, std::move(value.given));
    };
    for (const std::string& name : node_.keys()) {
      if (fields_.failed()) return {};
      if (name == "role") {
        put(name, jinja::Value(role));
      } else if (name == "content") {
        if (!content.wanted.is_none()) {
          put(name, std::move(content));
        } else {  // templates tell none from absence
          given.entries.emplace_back(name, jinja::Value());
          differs = true;
        }
      } else if (name == "tool_calls") {
        if (!calls.wanted.is_none()) put(name, std::move(calls));
      } else if (const JsonNode value = *node_.find(name); value.kind() != JsonKind::kNull) {
        put(name, plain(value, path_ + "." + name));
      }
    }
    return {jinja::Value(std::move(wanted)), jinja::Value(std::move(given))};
  }

 private:
  std::string read_role() {
    const auto role = fields_.text("role", 64);
    if (!role) return fields_.fail("role", "is missing"), "";
    if (*role == "developer") return "system";  // OpenAI's newer name for the same
    for (const char* known : {"system", "user", "assistant", "tool"}) {
      if (*role == known) return *role;
    }
    fields_.fail("role",
                 "must be one of system, developer, user, assistant, tool, not \"" + *role + "\"");
    return "";
  }

  jinja::Value plain(JsonNode value, const std::string& path) {
    auto converted = template_value(value, path);
    if (converted) return *std::move(converted);
    if (!error_) error_ = bad_field(path, converted.error().message);
    return {};
  }

  /// Text, a list of text parts, or none beside calls of tools.
  jinja::Value read_content(const std::string& role, bool has_calls) {
    const auto node = fields_.take("content");
    if (fields_.failed()) return {};
    if (!node) {
      if (role != "assistant" || !has_calls) fields_.fail("content", "is missing");
      return {};
    }
    if (node->kind() == JsonKind::kString) return node->text();
    if (node->kind() != JsonKind::kArray) {
      fields_.fail("content", std::string("must be a string or a list of text parts, not ") +
                                  json_kind_name(node->kind()));
      return {};
    }
    for (size_t i = 0; i < node->size() && !fields_.failed(); ++i) {
      check_part(node->at(i), fields_.path("content") + "[" + std::to_string(i) + "]");
    }
    return plain(*node, fields_.path("content"));
  }

  /// Only text has a meaning for a text model.
  void check_part(JsonNode part, const std::string& path) {
    if (part.kind() != JsonKind::kObject) return fail_kind(path, "an object", part);
    FieldReader fields(part, path + ".", error_);
    const auto type = fields.text("type", 64);
    if (fields.failed()) return;
    if (type != "text") {
      return fields.fail(
          "type", "must be \"text\", not \"" + type.value_or("") + "\": the model reads text only");
    }
    if (!fields.text("text", SIZE_MAX)) fields.fail("text", "is missing");
  }

  void fail_kind(const std::string& path, const std::string& wanted, JsonNode got) {
    if (error_) return;
    error_ = bad_field(path, path + " must be " + wanted + ", not " + json_kind_name(got.kind()));
  }

  TwoForms read_calls(const std::string& role, bool& differs) {
    const auto list = fields_.take("tool_calls");
    if (!list) return {};
    if (list->kind() != JsonKind::kArray) {
      fields_.fail("tool_calls",
                   std::string("must be an array, not ") + json_kind_name(list->kind()));
      return {};
    }
    if (list->size() == 0) return {};
    if (role != "assistant") {
      fields_.fail("tool_calls", "belong to messages of role assistant, not " + role);
    } else if (list->size() > kCallsMax) {
      fields_.fail("tool_calls", "must hold at most " + std::to_string(kCallsMax) + " calls, not " +
                                     std::to_string(list->size()));
    }
    jinja::List wanted, given;
    for (size_t i = 0; i < list->size() && !fields_.failed(); ++i) {
      const std::string path = fields_.path("tool_calls") + "[" + std::to_string(i) + "]";
      TwoForms call = read_call(list->at(i), path, differs);
      wanted.push_back(std::move(call.wanted));
      given.push_back(std::move(call.given));
    }
    return {jinja::Value(std::move(wanted)), jinja::Value(std::move(given))};
  }

  TwoForms read_call(JsonNode node, const std::string& path, bool& differs) {
    if (node.kind() != JsonKind::kObject) return fail_kind(path, "an object", node), TwoForms();
    FieldReader fields(node, path + ".", error_);
    fields.text("id", kNameBytesMax);
    if (fields.text("type", 64).value_or("function") != "function") {
      fields.fail("type", "must be \"function\"");
    }
    const auto function = fields.take("function");
    if (!function && !fields.failed()) fields.fail("function", "is missing");
    if (fields.failed()) return {};
    const std::string inner = path + ".function";
    if (function->kind() != JsonKind::kObject) {
      return fail_kind(inner, "an object", *function), TwoForms();
    }
    FieldReader parts(*function, inner + ".", error_);
    if (!parts.text("name", kNameBytesMax)) parts.fail("name", "is missing");
    const auto arguments = parts.take("arguments");
    if (fields.failed()) return {};
    const jinja::Value given = plain(node, path);
    if (fields.failed()) return {};
    if (arguments && arguments->kind() == JsonKind::kObject) return given;
    const jinja::Value parsed = parse_arguments(arguments, inner + ".arguments");
    differs = true;
    return {with_arguments(given, parsed), given};
  }

  /// OpenAI's API has the arguments as JSON in a string; templates want the object.
  jinja::Value parse_arguments(std::optional<JsonNode> arguments, const std::string& path) {
    const auto refuse = [&](const std::string& why) {
      if (!error_) error_ = bad_field(path, path + " " + why);
      return jinja::Value();
    };
    if (!arguments) return jinja::Value(jinja::Dict());
    if (arguments->kind() != JsonKind::kString) {
      return refuse(std::string("must be a JSON object, or a string that holds one, not ") +
                    json_kind_name(arguments->kind()));
    }
    if (arguments->text().empty()) return jinja::Value(jinja::Dict());
    auto document = JsonDocument::parse(arguments->text());
    if (!document) return refuse(document.error().message);
    if (document->root().kind() != JsonKind::kObject) {
      return refuse(std::string("must hold a JSON object, not ") +
                    json_kind_name(document->root().kind()));
    }
    return plain(document->root(), path);
  }

  static jinja::Value with_arguments(const jinja::Value& call, const jinja::Value& arguments) {
    jinja::Dict outer = *call.dict();
    jinja::Dict function = *outer.find("function")->dict();
    function.set("arguments", arguments);
    outer.set("function", std::move(function));
    return outer;
  }

  JsonNode node_;
  std::string path_;
  std::optional<ApiError>& error_;
  FieldReader fields_;
};

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
  bool differ = false;
  jinja::List given;
  for (size_t i = 0; i < list->size() && !fields.failed(); ++i) {
    const std::string path = "messages[" + std::to_string(i) + "]";
    if (list->at(i).kind() != JsonKind::kObject) {
      return fields.fail(
          path, std::string("must be an object, not ") + json_kind_name(list->at(i).kind()));
    }
    TwoForms message = MessageReader(list->at(i), path, error).read(differ);
    request.chat.messages.push_back(std::move(message.wanted));
    given.push_back(std::move(message.given));
  }
  if (differ) request.messages_as_given = std::move(given);
}

}  // namespace ebb::coordinator
