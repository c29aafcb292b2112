// From a checked request to what the engine takes: chat template, tokens, lengths. Knows no JSON
// and no HTTP.
#pragma once

#include <optional>
#include <vector>

#include "coordinator/api_context.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

struct BuiltPrompt {
  std::vector<TokenId> tokens;
  uint32_t added_bos = 0;  ///< tokens in front that are not of the client's text
  uint32_t max_tokens = 0;
};

/// One BuiltPrompt for each prompt (of a chat: one). Errors: no chat template, a template that
/// refuses the messages, a prompt that does not fit the context (names both figures).
std::optional<ApiError> build_prompts(const ApiContext& context, const OpenAiRequest& request,
                                      std::vector<BuiltPrompt>& prompts);

/// One prompt of a request, as the engine takes it. `stop_tokens`: the model's.
GenerateRequest engine_request(const std::vector<TokenId>& stop_tokens,
                               const OpenAiRequest& request, const BuiltPrompt& prompt,
                               uint64_t seed);

}  // namespace ebb::coordinator
