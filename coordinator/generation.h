// One completions or chat request from its body to its last byte: parse, tokenise, submit, collect
// or stream.
#pragma once

#include <memory>
#include <string>

#include "coordinator/api_context.h"
#include "coordinator/openai_request.h"
#include "transport/http/server.h"

namespace ebb::coordinator {

/// On the HTTP server's thread; returns at once, the work goes to the context's pool.
void serve_generation(std::shared_ptr<ApiContext> context, Endpoint endpoint, http::Request request,
                      std::shared_ptr<http::Exchange> exchange);

/// The client's X-Request-Id when it is short and plain, else a new one.
std::string request_id_of(const http::Request& request);

}  // namespace ebb::coordinator
