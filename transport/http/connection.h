// One client's connection: reads a request, hands it to the handler, writes the answer, and so on.
// Inside transport/http only; everything runs on the server's thread.
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>

#include "transport/http/server_state.h"

namespace ebb::http {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerState> server, boost::asio::ip::tcp::socket socket)
      : server_(std::move(server)), socket_(std::move(socket)), timer_(server_->io) {}

  void start() {
    server_->connections.insert(this);
    await_request(std::min(server_->options.read_timeout, server_->options.idle_timeout));
  }
  void client_gone();

  // An Exchange's calls, arrived on this thread. Ignored when `exchange` is no longer the current
  // one.
  void answer(const std::shared_ptr<ExchangeState>& exchange, Response response);
  void begin_stream(const std::shared_ptr<ExchangeState>& exchange, const Response& head);
  void stream_piece(const std::shared_ptr<ExchangeState>& exchange, std::string bytes);
  void end_stream(const std::shared_ptr<ExchangeState>& exchange);
  void abandon(const std::shared_ptr<ExchangeState>& exchange);

 private:
  enum class State { kIdle, kReading, kAnswering, kLingering, kClosed };
  struct Outgoing {
    std::string bytes;
    uint64_t counted = 0;  ///< of the stream's backlog
  };

  // Reading.
  void await_request(Millis by);
  void watch();
  void on_readable();
  void keep_pipelined_bytes();
  void read_head();
  void on_head(boost::system::error_code error);
  void read_body();
  void on_message();
  void refuse_unreadable(boost::system::error_code error);
  void refuse(int status, const std::string& message);

  // Writing.
  void enqueue(std::string bytes, uint64_t counted = 0);
  void write_more();
  void on_written(size_t written);
  void mark_complete();
  void forget_answer();
  void answer_complete();
  void linger();
  void discard();

  void set_deadline(Millis after);
  void clear_deadline();
  void on_deadline();
  void close();

  std::shared_ptr<ServerState> server_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  uint64_t deadline_number_ = 0;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  State state_ = State::kIdle;
  /// an async_wait for readability is pending; it survives changes of state
  bool watching_ = false;

  // The request being answered.
  std::shared_ptr<ExchangeState> current_;
  bool head_only_ = false;
  bool keep_alive_ = false;
  bool streaming_ = false;
  bool chunked_ = false;  ///< of a stream: false for HTTP/1.0
  bool http10_ = false;
  bool complete_ = false;  ///< the last byte of the answer is in out_

  std::deque<Outgoing> out_;
  size_t front_written_ = 0;
  bool writing_ = false;
  std::array<char, 4096> discard_buffer_;
};

/// The handler's end of one request; its methods post to the connection.
std::shared_ptr<Exchange> make_exchange(std::shared_ptr<ServerState> server,
                                        std::shared_ptr<Connection> connection,
                                        std::shared_ptr<ExchangeState> state);

}  // namespace ebb::http
