#include "coordinator/prompt_builder.h"

#include <algorithm>

namespace ebb::coordinator {
namespace {

/// Text that occurs nowhere in `messages`: marks the place where the last message ends.
std::string unused_mark(const std::vector<models::ChatMessage>& messages) {
  for (uint32_t i = 0;; ++i) {
    std::string mark = "#ebb-cut-" + std::to_string(i) + "#";
    const bool used = std::any_of(messages.begin(), messages.end(), [&](const auto& message) {
      return message.content.find(mark) != std::string::npos;
    });
    if (!used) return mark;
  }
}

/// Renders with the last message open: the mark at its end survives trimming in the template, and
/// the template's own end-of-message text behind it is cut.
Result<std::string> render_continued(const models::ChatTemplate& chat_template,
                                     std::vector<models::ChatMessage> messages) {
  const std::string mark = unused_mark(messages);
  messages.back().content += mark;
  std::string text = EBB_TRY(chat_template.render(messages, false));
  const size_t cut = text.rfind(mark);
  if (cut == std::string::npos) {
    return invalid("the model's chat template leaves out the last message");
  }
  text.resize(cut);
  if (text.find(mark) != std::string::npos) {
    return invalid("the model's chat template repeats the last message");
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
  auto text = request.continue_final_message
                  ? render_continued(*context.chat_template, request.messages)
                  : context.chat_template->render(request.messages, request.add_generation_prompt);
  if (!text) return bad_field("messages", "messages: " + text.error().message);
  prompt.tokens = context.tokenizer.encode(*text, models::SpecialTokens::kParse);
  if (prompt.tokens.empty()) return bad_field("messages", "messages render to an empty prompt");
  return {};
}

void text_tokens(const ApiContext& context, const std::string& text, BuiltPrompt& prompt) {
  const models::Tokenizer& tokenizer = context.tokenizer;
  prompt.tokens = tokenizer.encode(text, models::SpecialTokens::kParse);
  if (!tokenizer.adds_bos() || tokenizer.begin_of_text() < 0) return;
  prompt.tokens.insert(prompt.tokens.begin(), tokenizer.begin_of_text());
  prompt.added_bos = 1;
}

/// Resolves max_tokens and checks it, and decode_from, against the prompt and the context.
std::optional<ApiError> check_length(const ApiContext& context, const OpenAiRequest& request,
                                     BuiltPrompt& prompt) {
  const bool chat = request.endpoint == Endpoint::kChat;
  const uint64_t size = prompt.tokens.size();
  const uint64_t most = context.max_model_len;
  const bool must_generate = request.max_tokens != 0u;
  const std::string figures =
      "the prompt has " + std::to_string(size) + " tokens, the context has " + std::to_string(most);
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
      text_tokens(context, *text, prompt);
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

GenerateRequest engine_request(const ApiContext& context, const OpenAiRequest& request,
                               const BuiltPrompt& prompt, uint64_t seed) {
  GenerateRequest out;
  out.prompt = prompt.tokens;
  out.max_tokens = prompt.max_tokens;
  out.decode_from = request.ebb.decode_from;
  out.policy = request.ebb.policy;
  out.budget = request.ebb.budget;
  out.sinks = request.ebb.sinks;
  out.window = request.ebb.window;
  out.sampling = request.sampling;
  out.sampling.seed = seed;
  if (!request.ignore_eos) {
    out.sampling.stop_tokens.insert(out.sampling.stop_tokens.end(), context.stop_tokens.begin(),
                                    context.stop_tokens.end());
  }
  out.trace_selection = request.ebb.trace_selection;
  return out;
}

}  // namespace ebb::coordinator
