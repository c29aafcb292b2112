// Chat messages to prompt text by the model's own Jinja templates. A template is untrusted input:
// the interpreter is strict, and bounded in steps and output. Which names a template finds, and how
// a begun answer is continued, is as in apply_chat_template() of Hugging Face's transformers.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "models/jinja/value.h"

namespace ebb::models {

/// One of a model's templates. A model with one template calls it "default".
struct ChatTemplateSource {
  std::string name;
  std::string text;
};

/// Special tokens under the names that templates know them by: {"bos_token", "<s>"}.
using SpecialTexts = std::vector<std::pair<std::string, std::string>>;

/// What one prompt is made of.
struct ChatInput {
  /// Mappings with `role`, `content` and whatever else the template looks at, in order.
  jinja::List messages;
  jinja::Value tools;      ///< none, or a list of mappings
  jinja::Value documents;  ///< none, or a list of mappings
  /// Further names for the template; they go before those of special tokens.
  jinja::Dict variables;
  std::string
      template_name;  ///< empty: "tool_use" when there are tools and it exists, or "default"
  bool add_generation_prompt = true;
  /// The last message is an answer begun: the text ends where its content ends.
  bool continue_final_message = false;
  std::optional<std::tm> local_time;  ///< what strftime_now() tells; without it an error
};

/// Immutable after construction: all methods any thread.
class ChatTemplate {
 public:
  struct Limits {
    uint64_t steps_max = 4'000'000;
    uint64_t output_max = 32ull << 20;  ///< bytes
  };
  /// Errors: kInvalid (syntax: line and column; no template; a name twice), kUnsupported (a feature
  /// that the interpreter lacks: names it).
  static Result<std::unique_ptr<ChatTemplate>> parse(std::vector<ChatTemplateSource> sources,
                                                     SpecialTexts special, Limits limits);
  /// One template. Empty texts: there is no such token.
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string source, std::string bos_text,
                                                     std::string eos_text);
  ~ChatTemplate();
  /// Errors: kInvalid (raise_exception, a wrong type: line and column), kUnsupported, kExhausted (a
  /// limit), kNotFound (template_name: names the known ones).
  Result<std::string> render(const ChatInput& input) const;
  /// Whether the template that render() would choose reads content as a list of parts
  /// ({"type": "text", "text": ...}); others need it as one text.
  bool takes_content_parts(const ChatInput& input) const;

 private:
  ChatTemplate();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::models
