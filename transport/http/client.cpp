// The blocking client: one connection a call. Asio's loop runs on the caller's thread, one
// operation at a time, so that each has the call's deadline.
#include "transport/http/client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

namespace ebb::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

/// An answer kept whole in memory; longer ones are a stream's business.
constexpr uint64_t kAnswerMax = 1 * kGiB;

class Call {
 public:
  Call(const HostPort& address, const ClientRequest& request)
      : address_(address),
        request_(request),
        deadline_(Deadline::after(request.timeout)),
        stream_(io_) {}

  Result<Response> run(const std::function<bool(std::string_view)>& on_piece);

 private:
  Result<void> connect();
  Result<void> send();
  Result<void> receive_head();
  Result<void> receive_body(const std::function<bool(std::string_view)>& on_piece);

  /// Starts one operation and drives the loop until it has ended.
  template <class Start>
  error_code wait(Deadline by, Start start) {
    error_code result = asio::error::operation_aborted;
    stream_.expires_at(by.at);
    start([&result](error_code error, auto&&...) { result = error; });
    io_.restart();
    io_.run();
    return result;
  }
  Error failed(const std::string& doing, error_code error) const;

  const HostPort& address_;
  const ClientRequest& request_;
  Deadline deadline_;
  asio::io_context io_{1};
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  bhttp::response_parser<bhttp::buffer_body> parser_;
};

Error Call::failed(const std::string& doing, error_code error) const {
  const std::string where = doing + " " + address_.text();
  if (error == beast::error::timeout) {
    return timed_out(where + ": no answer in " + std::to_string(request_.timeout.count()) + " ms");
  }
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message ||
      error == asio::error::eof) {
    return unavailable(where + ": connection closed early");
  }
  return unavailable(where + ": " + error.message());
}

Result<void> Call::connect() {
  error_code error;
  asio::ip::tcp::resolver resolver(io_);
  const auto found = resolver.resolve(address_.host, std::to_string(address_.port), error);
  if (error) return unavailable("cannot resolve " + address_.host + ": " + error.message());
  Deadline by = Deadline::after(request_.connect_timeout);
  by.at = std::min(by.at, deadline_.at);
  error = wait(by, [&](auto done) { stream_.async_connect(found, done); });
  if (error == beast::error::timeout) {
    return unavailable("cannot connect to " + address_.text() + ": no answer in " +
                       std::to_string(request_.connect_timeout.count()) + " ms");
  }
  if (error) return unavailable("cannot connect to " + address_.text() + ": " + error.message());
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), error);
  return {};
}

Result<void> Call::send() {
  bhttp::request<bhttp::string_body> message;
  message.version(11);
  message.method_string(request_.method);
  message.target(request_.target);
  const bool v6 = address_.host.find(':') != std::string::npos;
  message.set(bhttp::field::host,
              v6 ? "[" + address_.host + "]:" + std::to_string(address_.port) : address_.text());
  message.set(bhttp::field::connection, "close");
  if (!request_.body.empty()) message.set(bhttp::field::content_type, "application/json");
  for (const auto& [name, value] : request_.headers) message.set(name, value);
  message.body() = request_.body;
  if (!request_.body.empty() || request_.method == "POST") message.prepare_payload();
  const error_code error =
      wait(deadline_, [&](auto done) { bhttp::async_write(stream_, message, done); });
  // A server that refuses a request early answers and stops reading: its answer says more than our
  // broken pipe.
  const bool may_have_answered =
      error == asio::error::broken_pipe || error == asio::error::connection_reset;
  if (error && !may_have_answered) return failed("request to", error);
  return {};
}

Result<void> Call::receive_head() {
  parser_.body_limit(boost::none);
  parser_.header_limit(256 * 1024);
  if (request_.method == "HEAD") parser_.skip(true);
  const error_code error = wait(
      deadline_, [&](auto done) { bhttp::async_read_header(stream_, buffer_, parser_, done); });
  if (error) return failed("answer from", error);
  return {};
}

Result<void> Call::receive_body(const std::function<bool(std::string_view)>& on_piece) {
  std::array<char, 16384> piece;
  while (!parser_.is_done()) {
    parser_.get().body().data = piece.data();
    parser_.get().body().size = piece.size();
    const error_code error = wait(
        deadline_, [&](auto done) { bhttp::async_read_some(stream_, buffer_, parser_, done); });
    const size_t n = piece.size() - parser_.get().body().size;
    if (n > 0 && !on_piece(std::string_view(piece.data(), n))) return {};
    if (error == bhttp::error::need_buffer) continue;
    if (error == bhttp::error::end_of_stream && parser_.is_done()) return {};
    if (error) return failed("answer from", error);
  }
  return {};
}

Result<Response> Call::run(const std::function<bool(std::string_view)>& on_piece) {
  EBB_TRY_VOID(connect());
  EBB_TRY_VOID(send());
  EBB_TRY_VOID(receive_head());
  Response response;
  const auto& head = parser_.get();
  response.status = static_cast<int>(head.result_int());
  response.content_type = std::string(head[bhttp::field::content_type]);
  for (const auto& field : head) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    response.headers[name] = std::string(field.value());
  }
  EBB_TRY_VOID(receive_body(on_piece));
  return response;
}

}  // namespace

Result<Response> fetch_stream(const HostPort& address, const ClientRequest& request,
                              const std::function<bool(std::string_view)>& on_piece) {
  Call call(address, request);
  return call.run(on_piece);
}

Result<Response> fetch(const HostPort& address, const ClientRequest& request) {
  std::string body;
  bool whole = true;
  auto response = fetch_stream(address, request, [&](std::string_view piece) {
    whole = body.size() + piece.size() <= kAnswerMax;
    if (whole) body += piece;
    return whole;
  });
  if (!response) return response;
  if (!whole) return exhausted("answer from " + address.text() + " is longer than 1 GiB");
  response->body = std::move(body);
  return response;
}

}  // namespace ebb::http
