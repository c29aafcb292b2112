// Fields of OpenAI's and vLLM's APIs that would change the answer and are not implemented: refused
// by name unless they hold the value that changes nothing. Ignoring them would give a wrong answer
// silently.
#pragma once

#include "coordinator/json_fields.h"

namespace ebb::coordinator {

/// `n`: what best_of must not differ from.
void refuse_unsupported(FieldReader& fields, uint32_t n);

/// Of a completions request: fields that only make a chat's prompt.
void refuse_chat_fields(FieldReader& fields);

}  // namespace ebb::coordinator
