#include "models/chat_template.h"

#include "models/jinja/interpreter.h"
#include "models/jinja/parser.h"

namespace ebb::models {

struct ChatTemplate::Impl {
  jinja::Body body;
  std::string bos_text;
  std::string eos_text;
  Limits limits;
};

ChatTemplate::ChatTemplate() : impl_(std::make_unique<Impl>()) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string source, std::string bos_text,
                                                          std::string eos_text) {
  return parse(std::move(source), std::move(bos_text), std::move(eos_text), Limits());
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string source, std::string bos_text,
                                                          std::string eos_text, Limits limits) {
  auto body = jinja::parse_template(source);
  if (!body) return with_context("chat template", std::move(body).error());
  std::unique_ptr<ChatTemplate> parsed(new ChatTemplate());
  *parsed->impl_ = {*std::move(body), std::move(bos_text), std::move(eos_text), limits};
  return parsed;
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt) const {
  jinja::List list;
  for (const ChatMessage& message : messages) {
    jinja::Dict entry;
    entry.set("role", message.role);
    entry.set("content", message.content);
    list.push_back(std::move(entry));
  }
  // The names that Hugging Face's apply_chat_template() defines, so that templates find what they
  // test for. Its strftime_now is left out: templates then take their fixed date, and a prompt does
  // not depend on the day.
  jinja::Dict variables;
  variables.set("messages", std::move(list));
  variables.set("add_generation_prompt", add_generation_prompt);
  variables.set("bos_token", impl_->bos_text);
  variables.set("eos_token", impl_->eos_text);
  variables.set("tools", jinja::Value());
  variables.set("documents", jinja::Value());
  const jinja::Budget budget(impl_->limits.steps_max, impl_->limits.output_max);
  auto text = jinja::render(impl_->body, std::move(variables), budget, impl_->limits.output_max);
  if (!text) return with_context("chat template", std::move(text).error());
  return text;
}

}  // namespace ebb::models
