// HTTP/1.1 server and a small blocking client; the only library that includes Beast.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"

namespace ebb::http {

struct Request {
  std::string method;  ///< upper case
  std::string path;    ///< decoded, without the query
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
};
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::map<std::string, std::string> headers;
  std::string body;
};

/// One request's way back. All methods any thread. Exactly one of: send(); or begin_stream(),
/// write()*, finish().
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void send(Response response) = 0;
  /// Chunked; headers as given (for SSE: content type text/event-stream).
  virtual void begin_stream(Response head) = 0;
  /// False when the client has gone, or when more than the stream's bound waits unsent (a reader
  /// too slow: gone).
  virtual bool write(std::string bytes) = 0;
  virtual void finish() = 0;
  /// Runs once, on the server's thread, if the client goes away before the answer is complete. Set
  /// before anything waits.
  virtual void on_disconnect(std::function<void()> callback) = 0;
};
using Handler = std::function<void(
    Request, std::shared_ptr<Exchange>)>;  ///< on the server's thread; must not block

struct ServerOptions {
  std::string name = "http";
  uint64_t body_max = 16 * kMiB;           ///< more: 413
  uint32_t header_max = 64 * 1024;         ///< more: 431
  uint32_t connections_max = 1024;         ///< more: 503 and close
  Millis read_timeout{30000};              ///< of one request's head and body
  Millis idle_timeout{75000};              ///< between requests
  uint64_t stream_backlog_max = 8 * kMiB;  ///< unsent bytes of one stream
};

class Server {
 public:
  /// Errors: kUnavailable ("address already in use: 127.0.0.1:8000"). Malformed HTTP is answered
  /// 400 and closed.
  static Result<std::unique_ptr<Server>> start(const HostPort& address, ServerOptions options,
                                               Handler handler);
  virtual ~Server() = default;  ///< stops, joins
  virtual uint16_t port() const = 0;
  /// Stops accepting; connections in progress go on.
  virtual void stop_accepting() = 0;
  /// Waits until the answers that were complete when it was called (sent, or streams finished) have
  /// left, or until `by`. Call it before destroying a server that shall not cut its last answers
  /// off. Not on the server's thread.
  virtual void flush(Deadline by) = 0;
};

}  // namespace ebb::http
