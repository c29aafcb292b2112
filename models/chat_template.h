// Chat messages to prompt text by the model's own Jinja template. A template is untrusted input:
// the interpreter is strict, and bounded in steps and output.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/gguf.h"

namespace ebb::models {

struct ChatMessage {
  std::string role;
  std::string content;
};

/// Immutable after construction: render() any thread.
class ChatTemplate {
 public:
  struct Limits {
    uint64_t steps_max = 1'000'000;
    uint64_t output_max = 64ull << 20;  ///< bytes
  };
  /// Errors: kInvalid (syntax: line and column), kUnsupported (a feature that the interpreter
  /// lacks: names it).
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string source, std::string bos_text,
                                                     std::string eos_text, Limits limits);
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string source, std::string bos_text,
                                                     std::string eos_text);
  ~ChatTemplate();
  /// Errors: kInvalid (raise_exception, undefined name: line and column), kExhausted (a limit).
  Result<std::string> render(const std::vector<ChatMessage>& messages,
                             bool add_generation_prompt) const;

 private:
  ChatTemplate();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::models
