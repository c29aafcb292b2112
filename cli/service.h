// Where the coordinator is, and asking it. A tool's only way to the network; knows no command and
// no table.
#pragma once

#include <string>

#include "base/result.h"
#include "base/units.h"
#include "transport/http/client.h"

namespace ebb::cli {

struct Service {
  HostPort api{"127.0.0.1", 8000};    ///< the OpenAI API
  HostPort admin{"127.0.0.1", 9400};  ///< metrics, health, admin
};

/// "http://127.0.0.1:8000", with or without "http://" and a closing "/". Errors: kInvalid;
/// kUnsupported for https.
Result<HostPort> parse_url(const std::string& url);
/// Wildcard hosts (0.0.0.0, ::) become loopback: where to connect, given where someone listens.
HostPort reachable(const HostPort& listens);

/// The body of a 200 answer. Errors: those of http::fetch; else the error object's message, with a
/// code that fits the status: 404 kNotFound, 400 and 422 kInvalid, 429 kExhausted, 503
/// kUnavailable.
Result<std::string> get(const HostPort& address, const std::string& target,
                        Millis timeout = Millis(10000));
/// The error that a non-200 answer stands for.
Error error_of(const http::Response& response);

/// What an answer of GET /ready other than 200 says is missing.
std::string not_ready_because(const http::Response& response);

}  // namespace ebb::cli
