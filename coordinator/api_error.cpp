#include "coordinator/api_error.h"

#include <nlohmann/json.hpp>

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

ApiError bad_field(std::string param, std::string message) {
  ApiError error;
  error.message = std::move(message);
  error.param = std::move(param);
  return error;
}

ApiError unknown_model(const std::string& asked, const std::string& served) {
  ApiError error = bad_field(
      "model", "model \"" + asked + "\" does not exist here: \"" + served + "\" is served");
  error.status = 404;
  error.code = "model_not_found";
  return error;
}

ApiError from_engine(const Error& error) {
  ApiError api;
  api.message = error.message;
  api.type = "server_error";
  switch (error.code) {
    case Code::kInvalid:
    case Code::kUnsupported:
      api.status = 400;
      api.type = "invalid_request_error";
      break;
    case Code::kNotFound:
      api.status = 404;
      api.type = "invalid_request_error";
      api.code = "not_found";
      break;
    case Code::kExhausted:
      api.status = 429;
      api.type = "rate_limit_error";
      api.code = "queue_full";
      break;
    case Code::kUnavailable:
      api.status = 503;
      api.code = "unavailable";
      break;
    case Code::kTimeout:
      api.status = 504;
      api.code = "timeout";
      break;
    case Code::kCancelled:
      api.status = 503;
      api.code = "cancelled";
      break;
    case Code::kCorrupt:
    case Code::kInternal:
      api.status = 500;
      api.code = "internal_error";
      break;
  }
  return api;
}

std::string error_json(const ApiError& error) {
  Json body;
  body["error"]["message"] = error.message;
  body["error"]["type"] = error.type;
  body["error"]["param"] = text_or_null(error.param);
  body["error"]["code"] = text_or_null(error.code);
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

http::Response error_response(const ApiError& error) {
  http::Response response;
  response.status = error.status;
  response.body = error_json(error);
  if (error.status == 429 || error.status == 503) response.headers["Retry-After"] = "1";
  return response;
}

}  // namespace ebb::coordinator
