// What a body demands of the answer's form: response_format (OpenAI's), structured_outputs (vLLM's)
// and the older guided_*. Compiles it, so that what cannot be met is refused before anything runs.
#pragma once

#include <optional>

#include "coordinator/json_fields.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// Sets request.constraint. `error` is the one that `fields` reports to.
void read_structured_output(FieldReader& fields, std::optional<ApiError>& error,
                            OpenAiRequest& request);

}  // namespace ebb::coordinator
