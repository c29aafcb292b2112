// Any text as a chat template, rendered with two fixed conversations. The limits are lower than a
// server's: under the sanitizers a template that spends those takes a minute.
#include "models/chat_template.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using ebb::models::ChatInput;
using ebb::models::ChatTemplate;
using ebb::models::jinja::Dict;
using ebb::models::jinja::List;
using ebb::models::jinja::Value;

Value mapping(std::initializer_list<std::pair<std::string_view, Value>> entries) {
  Dict dict;
  for (const auto& [key, value] : entries) dict.set(key, value);
  return dict;
}

constexpr ChatTemplate::Limits kLimits{.steps_max = 50'000, .output_max = 256 << 10};

/// Every kind of message that templates know: text, parts, a tool's call and its result.
ChatInput conversation() {
  const Value weather = mapping(
      {{"name", "weather"},
       {"arguments", mapping({{"city", "K\u00f6ln"}, {"days", int64_t{3}}, {"hot", false}})}});
  ChatInput input;
  input.messages = {
      mapping({{"role", "system"}, {"content", "Be brief."}}),
      mapping({{"role", "user"},
               {"content", List{mapping({{"type", "text"}, {"text", " How is\nit? "}})}}}),
      mapping({{"role", "assistant"},
               {"content", "<think>hm</think>Let me see."},
               {"tool_calls",
                List{mapping({{"id", "1"}, {"type", "function"}, {"function", weather}})}}}),
      mapping({{"role", "tool"}, {"content", "21.5"}, {"tool_call_id", "1"}}),
      mapping({{"role", "assistant"}, {"content", "Warm."}}),
      mapping({{"role", "user"}, {"content", "Thanks"}}),
  };
  input.tools = List{
      mapping({{"type", "function"},
               {"function",
                mapping({{"name", "weather"}, {"parameters", mapping({{"type", "object"}})}})}})};
  input.variables.set("enable_thinking", true);
  std::tm time{};
  time.tm_year = 125;
  time.tm_mday = 1;
  input.local_time = time;
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ChatInput kWithTools = conversation();
  static const ChatInput kPlain = [] {
    ChatInput input = conversation();
    input.tools = Value();
    input.messages.resize(2);
    input.continue_final_message = true;
    input.add_generation_prompt = false;
    return input;
  }();
  const auto parsed =
      ChatTemplate::parse({{"default", std::string(ebb::fuzz::text_of(data, size))}},
                          {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, kLimits);
  ebb::fuzz::check_refusal(parsed);
  if (!parsed) return 0;
  for (const ChatInput* input : {&kWithTools, &kPlain}) {
    const auto text = (*parsed)->render(*input);
    ebb::fuzz::check_refusal(text, ebb::fuzz::Lines::kMany);
    if (text) EBB_CHECK(text->size() <= kLimits.output_max);
    (*parsed)->takes_content_parts(*input);
  }
  return 0;
}
