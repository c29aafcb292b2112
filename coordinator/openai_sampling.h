// The fields of a body that say how tokens are chosen and when an answer ends. docs/sampling.md has
// their meaning, this their ranges.
#pragma once

#include <string>
#include <vector>

#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// temperature to logit_bias, seed, min_tokens. What the body does not say is limits.defaults',
/// else OpenAI's default.
void read_sampling(FieldReader& fields, const ApiLimits& limits, OpenAiRequest& request);
/// stop, stop_token_ids, include_stop_str_in_output, ignore_eos.
void read_stop(FieldReader& fields, const ApiLimits& limits, OpenAiRequest& request);
/// logprobs, top_logprobs, prompt_logprobs.
void read_logprobs(FieldReader& fields, OpenAiRequest& request);

/// A list of token ids; `path` names it: "prompt[2]".
std::vector<TokenId> read_token_ids(FieldReader& fields, const std::string& path, JsonNode list,
                                    uint32_t vocabulary);

}  // namespace ebb::coordinator
