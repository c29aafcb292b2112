// While an answer is awaited or streamed, the socket is watched, so that a client that goes away is
// noticed at once. Callbacks, not coroutines: GCC 12 destroys aggregate temporaries twice in an
// expression with co_await.
#include "transport/http/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>
#include <vector>

#include "transport/http/target.h"

namespace ebb::http {
namespace {

namespace asio = boost::asio;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

/// How long a refused client may go on sending before the socket closes: closing with unread bytes
/// would reset the connection and destroy the answer on its way.
constexpr Millis kLinger{2000};
/// Buffers of one write call.
constexpr size_t kGather = 32;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

std::string hex_size(size_t size) {
  char text[20];
  const int n = std::snprintf(text, sizeof text, "%zx\r\n", size);
  return std::string(text, static_cast<size_t>(n));
}

bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

}  // namespace

// Reading.

void Connection::await_request(Millis by) {
  state_ = State::kIdle;
  set_deadline(by);
  if (buffer_.size() > 0) return read_head();
  watch();
}

void Connection::watch() {
  if (watching_) return;
  watching_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](error_code error) {
                       self->watching_ = false;
                       if (!error) self->on_readable();
                     });
}

void Connection::on_readable() {
  if (state_ == State::kIdle) return read_head();
  if (state_ != State::kAnswering) return;  // the reader that runs now sees the bytes itself
  char byte;
  const ssize_t n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n == 0) return client_gone();
  if (n > 0) return keep_pipelined_bytes();
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return watch();
  client_gone();
}

/// A next request sent early. Its bytes are taken so that the watch does not fire for them again;
/// past one head's worth the watch ends, and a lost client is noticed by the next write.
void Connection::keep_pipelined_bytes() {
  const size_t room = server_->options.header_max;
  if (buffer_.size() >= room) return;
  error_code error;
  const size_t n = socket_.read_some(buffer_.prepare(room - buffer_.size()), error);
  if (error) return client_gone();
  buffer_.commit(n);
  watch();
}

void Connection::read_head() {
  state_ = State::kReading;
  set_deadline(server_->options.read_timeout);
  parser_.emplace();
  parser_->header_limit(server_->options.header_max);
  parser_->body_limit(server_->options.body_max);
  bhttp::async_read_header(
      socket_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, size_t) { self->on_head(error); });
}

void Connection::on_head(error_code error) {
  if (state_ != State::kReading) return;
  if (error) return refuse_unreadable(error);
  if (lower(parser_->get()[bhttp::field::expect]) != "100-continue") return read_body();
  static const std::string kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(socket_, asio::buffer(kContinue),
                    [self = shared_from_this()](error_code failed, size_t) {
                      if (self->state_ != State::kReading) return;
                      if (failed) return self->close();
                      self->read_body();
                    });
}

void Connection::read_body() {
  bhttp::async_read(socket_, buffer_, *parser_,
                    [self = shared_from_this()](error_code error, size_t) {
                      if (self->state_ != State::kReading) return;
                      if (error) return self->refuse_unreadable(error);
                      self->on_message();
                    });
}

/// Answers what HTTP has an answer for; closes silently when nobody is there to read one.
void Connection::refuse_unreadable(error_code error) {
  const ServerOptions& limits = server_->options;
  head_only_ = false;
  if (error == bhttp::error::body_limit) {
    return refuse(413, "request body is larger than " + std::to_string(limits.body_max) + " bytes");
  }
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    return refuse(431,
                  "request head is larger than " + std::to_string(limits.header_max) + " bytes");
  }
  const bool left = error == bhttp::error::end_of_stream || error == bhttp::error::partial_message;
  const bool is_http =
      error.category() == bhttp::make_error_code(bhttp::error::bad_method).category();
  if (left || !is_http) return close();
  refuse(400, "malformed HTTP: " + error.message());
}

void Connection::refuse(int status, const std::string& message) {
  state_ = State::kAnswering;
  keep_alive_ = false;
  mark_complete();
  const Response response = error_answer(status, message);
  enqueue(response_head(response, "Connection: close\r\nContent-Length: " +
                                      std::to_string(response.body.size()) + "\r\n") +
          (head_only_ ? std::string() : response.body));
}

void Connection::on_message() {
  auto message = parser_->release();
  parser_.reset();
  http10_ = message.version() < 11;
  keep_alive_ = message.keep_alive();
  head_only_ = message.method() == bhttp::verb::head;
  streaming_ = false;
  chunked_ = false;
  state_ = State::kAnswering;

  auto target = parse_target(message.target());
  if (!target) return refuse(400, target.error().message);

  Request request;
  // A handler sees GET: HEAD asks for the same head, and the body is left out here.
  request.method = head_only_ ? "GET" : std::string(message.method_string());
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : message) {
    std::string& value = request.headers[lower(field.name_string())];
    if (!value.empty()) value += ", ";
    value += field.value();
  }
  request.body = std::move(message.body());

  clear_deadline();  // the handler's own deadlines bound the answer
  current_ = std::make_shared<ExchangeState>();
  watch();
  server_->handler(std::move(request), make_exchange(server_, shared_from_this(), current_));
}

// Writing.

void Connection::answer(const std::shared_ptr<ExchangeState>& exchange, Response response) {
  if (exchange != current_ || state_ != State::kAnswering) return;
  std::string framing;
  if (has_body(response.status)) {
    framing = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  if (!keep_alive_) framing += "Connection: close\r\n";
  if (keep_alive_ && http10_) framing += "Connection: keep-alive\r\n";
  mark_complete();
  std::string bytes = response_head(response, framing);
  const bool body = has_body(response.status) && !head_only_ && !response.body.empty();
  if (body && response.body.size() < 4096) bytes += response.body;
  const bool separate = body && response.body.size() >= 4096;
  enqueue(std::move(bytes));
  if (separate) enqueue(std::move(response.body));
}

void Connection::begin_stream(const std::shared_ptr<ExchangeState>& exchange,
                              const Response& head) {
  if (exchange != current_ || state_ != State::kAnswering) return;
  streaming_ = true;
  chunked_ = !http10_;
  if (!chunked_)
    keep_alive_ = false;  // HTTP/1.0 knows the end of a stream only by the end of the connection
  std::string framing;
  if (chunked_) framing += "Transfer-Encoding: chunked\r\n";
  if (!keep_alive_) framing += "Connection: close\r\n";
  enqueue(response_head(head, framing));
}

void Connection::stream_piece(const std::shared_ptr<ExchangeState>& exchange, std::string bytes) {
  if (exchange != current_ || state_ != State::kAnswering) return;
  const uint64_t counted = bytes.size();
  if (head_only_) {
    exchange->backlog.fetch_sub(counted);
    return;
  }
  if (!chunked_) return enqueue(std::move(bytes), counted);
  std::string framed = hex_size(bytes.size());
  framed.reserve(framed.size() + bytes.size() + 2);
  framed += bytes;
  framed += "\r\n";
  enqueue(std::move(framed), counted);
}

void Connection::end_stream(const std::shared_ptr<ExchangeState>& exchange) {
  if (exchange != current_ || state_ != State::kAnswering) return;
  mark_complete();
  if (chunked_ && !head_only_) return enqueue("0\r\n\r\n");
  if (!writing_) answer_complete();
}

/// The handler let its Exchange go without an answer, or the client reads too slowly.
void Connection::abandon(const std::shared_ptr<ExchangeState>& exchange) {
  if (exchange != current_ || state_ != State::kAnswering || complete_) return;
  if (exchange->gone.load() || streaming_) return client_gone();
  Response response = error_answer(500, "the request was dropped without an answer");
  answer(exchange, std::move(response));
}

void Connection::enqueue(std::string bytes, uint64_t counted) {
  out_.push_back(Outgoing{std::move(bytes), counted});
  if (!writing_) write_more();
}

void Connection::write_more() {
  writing_ = true;
  set_deadline(
      server_->options.read_timeout);  // for the next byte to be taken, not for all of them
  std::vector<asio::const_buffer> buffers;
  buffers.reserve(std::min(out_.size(), kGather));
  for (const Outgoing& piece : out_) {
    if (buffers.size() == kGather) break;
    const size_t skip = buffers.empty() ? front_written_ : 0;
    buffers.push_back(asio::buffer(piece.bytes) + skip);
  }
  socket_.async_write_some(buffers, [self = shared_from_this()](error_code error, size_t n) {
    if (self->state_ != State::kAnswering) return;
    if (error) return self->client_gone();
    self->on_written(n);
  });
}

void Connection::on_written(size_t written) {
  written += front_written_;
  while (!out_.empty() && written >= out_.front().bytes.size()) {
    written -= out_.front().bytes.size();
    if (current_) current_->backlog.fetch_sub(out_.front().counted);
    out_.pop_front();
  }
  front_written_ = written;
  if (!out_.empty()) return write_more();
  writing_ = false;
  clear_deadline();
  if (complete_) answer_complete();
}

void Connection::mark_complete() {
  complete_ = true;
  ++server_->unwritten;
}

/// The answer is with the kernel, or nobody wants it any more.
void Connection::forget_answer() {
  current_.reset();
  if (!complete_) return;
  complete_ = false;
  if (--server_->unwritten > 0) return;
  for (const auto& tell : std::exchange(server_->when_written, {})) tell();
}

void Connection::answer_complete() {
  if (current_) {
    std::function<void()> dropped;  // may own the handler's state: let go outside of the lock
    std::lock_guard lock(current_->mutex);
    dropped.swap(current_->on_disconnect);
  }
  forget_answer();
  if (keep_alive_) return await_request(server_->options.idle_timeout);
  linger();
}

void Connection::linger() {
  state_ = State::kLingering;
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  set_deadline(kLinger);
  discard();
}

void Connection::discard() {
  socket_.async_read_some(asio::buffer(discard_buffer_),
                          [self = shared_from_this()](error_code error, size_t) {
                            if (self->state_ != State::kLingering) return;
                            if (error) return self->close();
                            self->discard();
                          });
}

// Ends.

void Connection::set_deadline(Millis after) {
  timer_.expires_after(after);
  // Numbered: a timer that fired just before it was set anew or cancelled comes here all the same.
  const uint64_t number = ++deadline_number_;
  timer_.async_wait([self = shared_from_this(), number](error_code error) {
    if (!error && number == self->deadline_number_) self->on_deadline();
  });
}

void Connection::clear_deadline() {
  ++deadline_number_;
  timer_.cancel();
}

void Connection::on_deadline() {
  if (state_ == State::kAnswering) return client_gone();
  if (state_ != State::kReading) return close();
  head_only_ = false;
  refuse(408, "the request did not arrive within " +
                  std::to_string(server_->options.read_timeout.count()) + " ms");
}

void Connection::client_gone() {
  std::function<void()> callback;
  if (current_) {
    std::lock_guard lock(current_->mutex);
    current_->gone.store(true);
    callback.swap(current_->on_disconnect);
  }
  close();
  if (callback) callback();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  forget_answer();
  clear_deadline();
  error_code ignored;
  socket_.close(ignored);
  server_->connections.erase(this);
}

void start_connection(std::shared_ptr<ServerState> server, asio::ip::tcp::socket socket) {
  error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket.non_blocking(true, ignored);
  std::make_shared<Connection>(std::move(server), std::move(socket))->start();
}

void abort_connection(Connection& connection) { connection.client_gone(); }

}  // namespace ebb::http
