// `messages` of a chat request as values for the model's template: roles, text parts, calls of
// tools and their results.
#pragma once

#include <optional>

#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// Reads `messages` into request.chat.messages, and into request.messages_as_given where arguments
/// of calls came as text.
void read_messages(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request);

}  // namespace ebb::coordinator
