// Server-sent events as OpenAI's API uses them: "data: {json}" and a blank line, at the end "data:
// [DONE]".
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "transport/http/server.h"

namespace ebb::coordinator {

/// The head goes out with the first event: until then an error can still be a plain HTTP error.
class EventStream {
 public:
  /// Shares the exchange with whoever watches for the client's leaving.
  EventStream(std::shared_ptr<http::Exchange> exchange, std::map<std::string, std::string> headers)
      : exchange_(std::move(exchange)), headers_(std::move(headers)) {}

  bool begun() const { return begun_; }
  /// `json` has no line breaks. False when the client has gone or reads too slowly.
  bool event(std::string_view json);
  /// The regular end.
  void done();
  /// An error after the first byte: one event, and the stream ends without [DONE].
  void fail(std::string_view json);

 private:
  void begin();

  std::shared_ptr<http::Exchange> exchange_;
  std::map<std::string, std::string> headers_;
  bool begun_ = false;
};

}  // namespace ebb::coordinator
