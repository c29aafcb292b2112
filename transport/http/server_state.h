// Inside transport/http only: what the server, its connections and their exchanges share.
// Everything here belongs to the server's thread, except ServerState::post and ExchangeState, which
// exchanges use from any thread.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "transport/http/server.h"

namespace ebb::http {

class Connection;

/// Owned together by the server, its connections and every Exchange: a handler may keep an Exchange
/// longer than the server lives, and its methods must then find something to refuse them.
struct ServerState {
  ServerState(ServerOptions o, Handler h) : options(std::move(o)), handler(std::move(h)) {}

  ServerOptions options;
  Handler handler;
  boost::asio::io_context io{1};
  std::set<Connection*> connections;  ///< server's thread
  uint32_t unwritten = 0;  ///< server's thread: answers that are complete but not yet sent
  std::vector<std::function<void()>> when_written;  ///< server's thread: who waits for that to be 0

  /// Any thread. Tasks run in the order in which they were posted, whichever threads posted them: a
  /// stream's head, begun on this thread, must come before the first piece, written on another.
  /// (asio::post alone does not promise that: what its own thread posts goes to a queue apart.)
  /// False after close_posts(): a task queued then would never run and keep everything alive.
  bool post(std::function<void()> task) {
    std::lock_guard lock(mutex_);
    if (!open_) return false;
    tasks_.push_back(std::move(task));
    if (!std::exchange(scheduled_, true)) boost::asio::post(io, [this] { run_tasks(); });
    return true;
  }
  void close_posts() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }

 private:
  void run_tasks() {
    std::vector<std::function<void()>> now;
    {
      std::lock_guard lock(mutex_);
      now.swap(tasks_);
      scheduled_ = false;
    }
    for (const auto& task : now) task();
  }

  std::mutex mutex_;
  bool open_ = true;
  bool scheduled_ = false;  ///< run_tasks() is on its way
  std::vector<std::function<void()>> tasks_;
};

/// What an Exchange and its connection both see of one request.
struct ExchangeState {
  std::atomic<bool> gone{false};
  std::atomic<uint64_t> backlog{0};  ///< bytes of the stream that no socket has taken yet

  std::mutex mutex;  ///< of what follows
  std::function<void()> on_disconnect;
};

/// Takes over an accepted socket: serves requests until either side closes.
void start_connection(std::shared_ptr<ServerState> server, boost::asio::ip::tcp::socket socket);
/// Closes it now; a pending exchange learns that its client is gone.
void abort_connection(Connection& connection);

/// One whole answer as bytes. `framing` lines ("Content-Length: 3\r\n") are added as they are.
std::string response_head(const Response& response, std::string_view framing);
/// An answer that HTTP itself gives, before any handler: the error object that all of Ebb's
/// endpoints use.
Response error_answer(int status, const std::string& message);

}  // namespace ebb::http
