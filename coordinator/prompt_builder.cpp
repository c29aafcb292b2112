#include "coordinator/prompt_builder.h"

#include <algorithm>
#include <ctime>

namespace ebb::coordinator {
namespace {

/// The text of all parts, a line each: for templates that know no parts.
models::jinja::Value joined_parts(const models::jinja::List& parts) {
  std::string text;
  for (const models::jinja::Value& part : parts) {
    if (&part != &parts.front()) text += '\n';
    text += *part.dict()->find("text")->string();
  }
  return text;
}

void join_parts(models::jinja::List& messages) {
  for (models::jinja::Value& message : messages) {
    const models::jinja::Value* content = message.dict()->find("content");
    if (content == nullptr || content->list() == nullptr) continue;
    models::jinja::Dict changed = *message.dict();
    changed.set("content", joined_parts(*content->list()));
    message = std::move(changed);
  }
}

bool has_parts(const models::jinja::List& messages) {
  return std::any_of(messages.begin(), messages.end(), [](const models::jinja::Value& message) {
    const models::jinja::Value* content = message.dict()->find("content");
    return content != nullptr && content->list() != nullptr;
  });
}

/// Arguments of tool calls are objects for most templates; some put them into the text as they are
/// and fail with objects. Some ask whether the content is none, and fail where it is not there.
/// Some read parts, but not in messages of every role.
Result<std::string> render_chat(const models::ChatTemplate& chat_template,
                                const OpenAiRequest& request) {
  models::ChatInput input = request.chat;
  const std::time_t now = std::time(nullptr);
  localtime_r(&now, &input.local_time.emplace());
  const bool knows_parts = chat_template.takes_content_parts(input);
  const auto render = [&](const models::jinja::List& messages, bool joins) {
    input.messages = messages;
    if (joins) join_parts(input.messages);
    return chat_template.render(input);
  };
  auto text = render(request.chat.messages, !knows_parts);
  if (text || text.error().code != Code::kInvalid) return text;
  if (request.messages_as_given) {
    if (auto second = render(*request.messages_as_given, !knows_parts)) return second;
  }
  if (knows_parts && has_parts(request.chat.messages)) {
    if (auto second = render(request.chat.messages, true)) return second;
  }
  return text;
}

std::optional<ApiError> chat_tokens(const ApiContext& context, const OpenAiRequest& request,
                                    BuiltPrompt& prompt) {
  if (context.chat_template == nullptr) {
    ApiError error = bad_field(
        "messages", "model " + context.model + " has no chat template: use /v1/completions");
    error.code = "no_chat_template";
    return error;
  }
  const auto text = render_chat(*context.chat_template, request);
  if (!text) {
    const char* field = text.error().code == Code::kNotFound ? "chat_template" : "messages";
    return bad_field(field, std::string(field) + ": " + text.error().message);
  }
  auto tokens = context.tokenizer.encode(*text, models::SpecialTokens::kParse);
  if (!tokens) return bad_field("messages", "messages: " + tokens.error().message);
  prompt.tokens = *std::move(tokens);
  if (prompt.tokens.empty()) return bad_field("messages", "messages render to an empty prompt");
  return {};
}

std::optional<ApiError> text_tokens(const ApiContext& context, const std::string& text,
                                    BuiltPrompt& prompt) {
  const models::Tokenizer& tokenizer = context.tokenizer;
  const auto tokens = tokenizer.encode(text, models::SpecialTokens::kParse);
  if (!tokens) return bad_field("prompt", "prompt: " + tokens.error().message);
  prompt.tokens = tokenizer.ids_before();
  prompt.added_bos = static_cast<uint32_t>(prompt.tokens.size());
  prompt.tokens.insert(prompt.tokens.end(), tokens->begin(), tokens->end());
  const auto after = tokenizer.ids_after();
  prompt.tokens.insert(prompt.tokens.end(), after.begin(), after.end());
  return {};
}

/// Resolves max_tokens and checks it, and decode_from, against the prompt and the context.
std::optional<ApiError> check_length(const ApiContext& context, const OpenAiRequest& request,
                                     BuiltPrompt& prompt) {
  const bool chat = request.endpoint == Endpoint::kChat;
  const uint64_t size = prompt.tokens.size();
  // A stream forgets, and so may run past the context.
  const auto policy = request.ebb.policy ? request.ebb.policy : context.policy_defaults.policy;
  const bool stream = policy == control::PolicyKind::kStreaming;
  const uint64_t most = stream ? kPolicyTokensMax : context.max_model_len;
  const bool must_generate = request.max_tokens != 0u;
  const std::string figures = "the prompt has " + std::to_string(size) + " tokens, " +
                              (stream ? "a stream" : "the context") + " has " +
                              std::to_string(most);
  if (size + (must_generate ? 1 : 0) > most) {
    ApiError error = bad_field(chat ? "messages" : "prompt", figures + " (max_model_len)");
    error.code = "context_length_exceeded";
    return error;
  }
  const uint64_t room = most - size;
  if (request.max_tokens && *request.max_tokens > room) {
    ApiError error = bad_field("max_tokens", "max_tokens must be at most " + std::to_string(room) +
                                                 ", not " + std::to_string(*request.max_tokens) +
                                                 ": " + figures + " (max_model_len)");
    error.code = "context_length_exceeded";
    return error;
  }
  uint64_t wanted = chat ? kChatTokensDefault : kCompletionTokensDefault;
  if (request.ebb.trace_selection) wanted = std::min<uint64_t>(wanted, kTraceStepsMax);
  prompt.max_tokens =
      request.max_tokens.value_or(static_cast<uint32_t>(std::min<uint64_t>(wanted, room)));
  const auto decode_from = request.ebb.decode_from;
  if (decode_from && *decode_from >= size) {
    return bad_field("ebb.decode_from", "ebb.decode_from must be from 1 to " +
                                            std::to_string(size - 1) + ", not " +
                                            std::to_string(*decode_from) + ": the prompt has " +
                                            std::to_string(size) + " tokens");
  }
  return {};
}

}  // namespace

std::optional<ApiError> build_prompts(const ApiContext& context, const OpenAiRequest& request,
                                      std::vector<BuiltPrompt>& prompts) {
  if (request.endpoint == Endpoint::kChat) {
    BuiltPrompt prompt;
    if (auto error = chat_tokens(context, request, prompt)) return error;
    prompts.push_back(std::move(prompt));
  }
  for (const Prompt& given : request.prompts) {
    BuiltPrompt prompt;
    if (const auto* text = std::get_if<std::string>(&given)) {
      if (auto error = text_tokens(context, *text, prompt)) return error;
    } else {
      prompt.tokens = std::get<std::vector<TokenId>>(given);
    }
    prompts.push_back(std::move(prompt));
  }
  for (BuiltPrompt& prompt : prompts) {
    if (auto error = check_length(context, request, prompt)) return error;
  }
  return {};
}

GenerateRequest engine_request(const std::vector<TokenId>& stop_tokens,
                               const OpenAiRequest& request, const BuiltPrompt& prompt,
                               uint64_t seed) {
  GenerateRequest out;
  out.prompt = prompt.tokens;
  out.max_tokens = prompt.max_tokens;
  out.decode_from = request.ebb.decode_from;
  out.policy = request.ebb.policy;
  out.budget = request.ebb.budget;
  out.sinks = request.ebb.sinks;
  out.window = request.ebb.window;
  out.options = request.ebb.options;
  out.sampling = request.sampling;
  out.sampling.seed = seed;
  out.constraint = request.constraint;
  if (!request.ignore_eos) {
    out.sampling.stop_tokens.insert(out.sampling.stop_tokens.end(), stop_tokens.begin(),
                                    stop_tokens.end());
  }
  out.trace_selection = request.ebb.trace_selection;
  return out;
}

}  // namespace ebb::coordinator
