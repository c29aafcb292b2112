#include "coordinator/event_stream.h"

namespace ebb::coordinator {

void EventStream::begin() {
  if (begun_) return;
  begun_ = true;
  http::Response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = headers_;
  head.headers["Cache-Control"] = "no-cache";
  head.headers["X-Accel-Buffering"] = "no";  // nginx would collect events into big buffers
  exchange_->begin_stream(std::move(head));
}

bool EventStream::event(std::string_view json) {
  begin();
  std::string bytes = "data: ";
  bytes += json;
  bytes += "\n\n";
  return exchange_->write(std::move(bytes));
}

void EventStream::done() {
  event("[DONE]");
  exchange_->finish();
}

void EventStream::fail(std::string_view json) {
  event(json);
  exchange_->finish();
}

}  // namespace ebb::coordinator
