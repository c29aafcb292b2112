// Where model files keep their chat templates. Knows the files' keys, not the templates' language.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/chat_template.h"
#include "models/gguf.h"

namespace ebb::models {

/// From tokenizer.chat_template and tokenizer.chat_template.NAME of a GGUF file. Null: it has none.
/// Errors: as ChatTemplate::parse().
Result<std::unique_ptr<ChatTemplate>> load_chat_template(const GgufFile& file);

/// The files of a Hugging Face directory that speak of chats, as text.
struct ChatTemplateFiles {
  std::string_view tokenizer_config;    ///< tokenizer_config.json; empty: no such file
  std::string_view special_tokens_map;  ///< special_tokens_map.json; empty: no such file
  /// chat_template.jinja as "default", additional_chat_templates/NAME.jinja as NAME. They go before
  /// what tokenizer_config.json says under "chat_template".
  std::vector<ChatTemplateSource> templates;
  /// chat_template.json, {"chat_template": ...}, which processors of older releases wrote; counts
  /// when the others have none. Empty: no such file.
  std::string_view template_json{};
};

/// Null: the model has no template. Errors: kInvalid (JSON, a field of a wrong type: names file and
/// field), and as ChatTemplate::parse().
Result<std::unique_ptr<ChatTemplate>> load_chat_template(const ChatTemplateFiles& files);

}  // namespace ebb::models
