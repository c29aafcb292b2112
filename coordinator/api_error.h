// What a client is told when a request cannot be served: OpenAI's error object and the HTTP status
// around it.
#pragma once

#include <string>

#include "base/result.h"
#include "transport/http/server.h"

namespace ebb::coordinator {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  ///< the field at fault, as a path: "messages[0].content"; empty: null
  std::string code;   ///< for programs; empty: null
};

/// A 400 about one field of the request.
ApiError bad_field(std::string param, std::string message);
/// A 404 that names the served model.
ApiError unknown_model(const std::string& asked, const std::string& served);
/// An error of the engine: kInvalid 400, kNotFound 404, kExhausted 429, kUnavailable 503, kTimeout
/// 504, else 500.
ApiError from_engine(const Error& error);

/// {"error":{"message","type","param","code"}}
std::string error_json(const ApiError& error);
/// With Retry-After where trying again can help (429, 503).
http::Response error_response(const ApiError& error);

}  // namespace ebb::coordinator
