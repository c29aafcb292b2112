#include "coordinator/openai_unsupported.h"

namespace ebb::coordinator {
namespace {

enum class Neutral { kOne, kEmpty, kFalse, kTrue, kNothing };
struct Field {
  const char* name;
  Neutral neutral;
};

constexpr Field kFields[] = {
    {"length_penalty", Neutral::kOne},
    {"bad_words", Neutral::kEmpty},
    {"allowed_token_ids", Neutral::kNothing},
    {"suffix", Neutral::kEmpty},
    {"functions", Neutral::kEmpty},
    {"use_beam_search", Neutral::kFalse},
    {"skip_special_tokens", Neutral::kTrue},
    {"add_special_tokens", Neutral::kNothing},
    {"truncate_prompt_tokens", Neutral::kNothing},
    {"guided_grammar", Neutral::kNothing},
    {"audio", Neutral::kNothing},
    {"web_search_options", Neutral::kNothing},
};

/// These make the prompt of a chat.
constexpr Field kChatFields[] = {
    {"tools", Neutral::kEmpty},
    {"documents", Neutral::kEmpty},
    {"chat_template", Neutral::kNothing},
    {"chat_template_kwargs", Neutral::kEmpty},
};

bool is_number(JsonNode value, double wanted) {
  const bool number = value.kind() == JsonKind::kInteger || value.kind() == JsonKind::kReal;
  return number && value.number() == wanted;
}

bool is_neutral(JsonNode value, Neutral neutral) {
  switch (neutral) {
    case Neutral::kOne:
      return is_number(value, 1);
    case Neutral::kEmpty:
      if (value.kind() == JsonKind::kString) return value.text().empty();
      return (value.kind() == JsonKind::kArray || value.kind() == JsonKind::kObject) &&
             value.size() == 0;
    case Neutral::kFalse:
      return value.kind() == JsonKind::kBool && !value.boolean();
    case Neutral::kTrue:
      return value.kind() == JsonKind::kBool && value.boolean();
    case Neutral::kNothing:
      return false;
  }
  return false;
}

const char* neutral_text(Neutral neutral) {
  switch (neutral) {
    case Neutral::kOne:
      return "is not supported: only 1 is accepted";
    case Neutral::kEmpty:
      return "is not supported: leave it out or empty";
    case Neutral::kFalse:
      return "is not supported: only false is accepted";
    case Neutral::kTrue:
      return "is not supported: only true is accepted";
    case Neutral::kNothing:
      return "is not supported: leave it out";
  }
  return "is not supported";
}

bool is_text(std::optional<JsonNode> value, const std::string& wanted) {
  return value && value->kind() == JsonKind::kString && value->text() == wanted;
}

void refuse_unless_neutral(FieldReader& fields, const Field& field) {
  const auto value = fields.take(field.name);
  if (value && !is_neutral(*value, field.neutral)) {
    fields.fail(field.name, neutral_text(field.neutral));
  }
}

void refuse_choice(FieldReader& fields, const char* name) {
  const auto choice = fields.take(name);
  if (choice && !is_text(choice, "none") && !is_text(choice, "auto")) {
    fields.fail(name, "is not supported: there are no tools");
  }
}

}  // namespace

void refuse_chat_fields(FieldReader& fields) {
  for (const Field& field : kChatFields) refuse_unless_neutral(fields, field);
  refuse_choice(fields, "tool_choice");
}

void refuse_unsupported(FieldReader& fields, uint32_t n) {
  for (const Field& field : kFields) refuse_unless_neutral(fields, field);
  if (const auto best_of = fields.take("best_of"); best_of && !is_number(*best_of, n)) {
    fields.fail("best_of",
                "is not supported: only the value of n (" + std::to_string(n) + ") is accepted");
  }
  refuse_choice(fields, "function_call");
  if (const auto modalities = fields.take("modalities")) {
    const bool text_only = modalities->kind() == JsonKind::kArray && modalities->size() == 1 &&
                           is_text(modalities->at(0), "text");
    if (!text_only) fields.fail("modalities", "is not supported: only [\"text\"] is accepted");
  }
}

}  // namespace ebb::coordinator
