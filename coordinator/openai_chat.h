// What a chat request says beside its messages: tools, documents, the choice of the template, and
// its further names.
#pragma once

#include <optional>

#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// Reads the fields that make the prompt of a chat, `messages` among them, into request.chat.
void read_chat(FieldReader& fields, std::optional<ApiError>& error, OpenAiRequest& request);

}  // namespace ebb::coordinator
