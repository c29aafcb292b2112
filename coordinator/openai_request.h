// A body of /v1/completions or /v1/chat/completions as checked values. Text stays text here: tokens
// are prompt_builder's business. Every bad value is an ApiError that names the field and the limit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "coordinator/api_error.h"
#include "coordinator/policy_options.h"
#include "models/chat_template.h"
#include "models/generation_defaults.h"
#include "transport/control/messages.h"

namespace ebb::coordinator {

// What one request may ask for.
constexpr uint32_t kChoicesMax = 8;   ///< n
constexpr uint32_t kPromptsMax = 64;  ///< prompts of one completions body
constexpr uint32_t kMessagesMax = 4096;
constexpr uint32_t kStopsMax = 16;
constexpr uint32_t kStopBytesMax = 256;
constexpr uint32_t kLogprobsMax = 20;
/// Far above any context; keeps sums of two such numbers in range.
constexpr uint32_t kTokensMax = 1u << 24;
constexpr uint32_t kTraceStepsMax = 256;  ///< a trace is about 4 bytes x budget x anchors a step
constexpr uint32_t kCompletionTokensDefault = 16;  ///< OpenAI's
constexpr uint32_t kChatTokensDefault = 1024;      ///< or the rest of the context, if that is less

enum class Endpoint { kCompletions, kChat };
using Prompt = std::variant<std::string, std::vector<TokenId>>;

/// The extension object `ebb`.
struct EbbOptions {
  std::optional<control::PolicyKind> policy;
  std::optional<uint32_t> budget;
  std::optional<uint32_t> sinks;
  std::optional<uint32_t> window;
  PolicyOptions options;
  std::optional<uint32_t> decode_from;  ///< completions only
  bool trace_selection = false;
};

struct OpenAiRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string model;            ///< empty: the served one
  std::vector<Prompt> prompts;  ///< completions: at least one
  models::ChatInput chat;       ///< chat: at least one message, each with role; no local_time yet
  /// Where arguments of tool calls came as text, or content as null: chat.messages has them as
  /// objects, and without that content; this has them as they came.
  std::optional<models::jinja::List> messages_as_given;
  uint32_t n = 1;
  std::optional<uint32_t> max_tokens;
  control::SamplingParams sampling;  ///< without stop tokens of the model
  bool seeded = false;               ///< sampling.seed was given
  std::vector<std::string> stop;
  bool include_stop = false;  ///< a stop string is the end of the text, not left out
  std::optional<uint32_t> prompt_logprobs;
  control::Constraint constraint;  ///< compiles
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;
  bool return_token_ids = false;
  EbbOptions ebb;
  std::vector<std::string> ignored;  ///< unknown fields, for the client to see
};

/// Limits that come from the served model.
struct ApiLimits {
  uint32_t max_model_len = 0;  ///< tokens
  uint32_t vocabulary = 0;
  const models::GenerationDefaults* defaults = nullptr;  ///< null: the API's own
};

/// Fills `request`; an error leaves it half filled.
std::optional<ApiError> parse_openai_request(std::string_view body, Endpoint endpoint,
                                             const ApiLimits& limits, OpenAiRequest& request);

}  // namespace ebb::coordinator
