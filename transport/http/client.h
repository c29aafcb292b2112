// A small blocking HTTP/1.1 client for ebbctl and tests: one request a call, plain TCP.
#pragma once

#include <functional>
#include <string>

#include "transport/http/server.h"

namespace ebb::http {

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, already encoded
  std::map<std::string, std::string> headers;
  std::string body;
  Millis connect_timeout{3000};
  Millis timeout{600000};  ///< of the whole call
};

/// Errors: kUnavailable (cannot connect: names the address; connection closed early), kTimeout.
Result<Response> fetch(const HostPort& address, const ClientRequest& request);
/// The same, with the body delivered piece by piece (SSE); return false from `on_piece` to stop
/// early.
Result<Response> fetch_stream(const HostPort& address, const ClientRequest& request,
                              const std::function<bool(std::string_view)>& on_piece);

}  // namespace ebb::http
