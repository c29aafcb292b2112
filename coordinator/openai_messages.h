// `messages` of a chat request: roles and text parts.
#pragma once

#include <optional>

#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// Reads messages, add_generation_prompt and continue_final_message.
void read_messages(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request);

}  // namespace ebb::coordinator
