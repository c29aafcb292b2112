// POST /tokenize and /detokenize: the model's own tokenizer, for clients that count or send token
// ids.
#pragma once

#include <memory>

#include "coordinator/api_context.h"
#include "transport/http/server.h"

namespace ebb::coordinator {

/// {"prompt": text, "add_special_tokens": true} -> {"count", "max_model_len", "tokens"}. Any
/// thread.
http::Response tokenize(const ApiContext& context, const http::Request& request);
/// {"tokens": [ids]} -> {"prompt": text}. Any thread.
http::Response detokenize(const ApiContext& context, const http::Request& request);

}  // namespace ebb::coordinator
