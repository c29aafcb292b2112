#include "cli/service.h"

#include <nlohmann/json.hpp>

namespace ebb::cli {
namespace {

Code code_of(int status) {
  switch (status) {
    case 400:
    case 413:
    case 422:
      return Code::kInvalid;
    case 404:
      return Code::kNotFound;
    case 429:
      return Code::kExhausted;
    case 503:
      return Code::kUnavailable;
    case 504:
      return Code::kTimeout;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Result<HostPort> parse_url(const std::string& url) {
  std::string rest = url;
  if (rest.starts_with("https://"))
    return unsupported("\"" + url + "\": TLS is not there yet; use http:// on a trusted network");
  if (rest.starts_with("http://")) rest = rest.substr(7);
  while (rest.ends_with("/")) rest.pop_back();
  if (rest.find('/') != std::string::npos)
    return invalid("\"" + url + "\" has a path; expected a URL such as http://127.0.0.1:8000");
  auto parsed = parse_host_port(rest);
  if (!parsed) return invalid("\"" + url + "\" is not a URL such as http://127.0.0.1:8000");
  return parsed;
}

HostPort reachable(const HostPort& listens) {
  if (listens.host == "0.0.0.0") return {"127.0.0.1", listens.port};
  if (listens.host == "::") return {"::1", listens.port};
  return listens;
}

Error error_of(const http::Response& response) {
  const std::string status = "HTTP " + std::to_string(response.status);
  // Not every proxy and not every failure speaks JSON.
  const auto json = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("error")) {
    const auto& error = json["error"];
    if (error.is_object() && error.contains("message") && error["message"].is_string())
      return {code_of(response.status), error["message"].get<std::string>() + " (" + status + ")"};
  }
  return {code_of(response.status), status + ": " + response.body.substr(0, 200)};
}

std::string not_ready_because(const http::Response& response) {
  const auto body = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (body.is_object() && body.contains("not_ready_because") &&
      body["not_ready_because"].is_string())
    return body["not_ready_because"].get<std::string>();
  return error_of(response).message;
}

Result<std::string> get(const HostPort& address, const std::string& target, Millis timeout) {
  http::ClientRequest request;
  request.target = target;
  request.timeout = timeout;
  auto response = http::fetch(address, request);
  if (!response) return response.error();
  if (response->status != 200) return error_of(*response);
  return std::move(response->body);
}

}  // namespace ebb::cli
