// Accepts connections on one thread and hands each to connection.cpp.
#include "transport/http/server.h"

#include <sys/socket.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/status.hpp>
#include <future>
#include <thread>
#include <vector>

#include "base/log.h"
#include "transport/http/server_state.h"

namespace ebb::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

/// After a failed accept (no file descriptors left): long enough not to spin, short enough to
/// recover.
constexpr Millis kAcceptPause{100};

std::string json_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

/// Header values come from callers and, in part, from clients: a line break would begin another
/// header.
std::string header_text(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return out;
}

class AsioServer final : public Server {
 public:
  AsioServer(ServerOptions options, Handler handler)
      : state_(std::make_shared<ServerState>(std::move(options), std::move(handler))),
        work_(asio::make_work_guard(state_->io)),
        acceptor_(state_->io),
        pause_(state_->io) {}
  ~AsioServer() override;

  Result<void> listen(const HostPort& address);
  uint16_t port() const override { return port_; }
  void stop_accepting() override {
    state_->post([this] { close_acceptor(); });
  }
  void flush(Deadline by) override;

 private:
  void accept();
  void on_accept(error_code error, asio::ip::tcp::socket socket);
  void turn_away(asio::ip::tcp::socket socket);
  void close_acceptor() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

  std::shared_ptr<ServerState> state_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  uint16_t port_ = 0;
  std::thread thread_;
};

Result<void> AsioServer::listen(const HostPort& address) {
  error_code error;
  asio::ip::tcp::resolver resolver(state_->io);
  const auto found = resolver.resolve(address.host, std::to_string(address.port),
                                      asio::ip::tcp::resolver::passive, error);
  if (error || found.empty()) {
    return unavailable("cannot resolve " + address.text() + ": " + error.message());
  }
  const asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::ip::tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    return unavailable("address already in use: " + address.text());
  }
  if (error) return unavailable("cannot listen on " + address.text() + ": " + error.message());
  port_ = acceptor_.local_endpoint(error).port();
  accept();
  thread_ = std::thread([state = state_] { state->io.run(); });
  pthread_setname_np(thread_.native_handle(), state_->options.name.substr(0, 15).c_str());
  return {};
}

AsioServer::~AsioServer() {
  if (thread_.joinable()) {
    state_->post([this] {
      close_acceptor();
      const std::vector<Connection*> live(state_->connections.begin(), state_->connections.end());
      for (Connection* connection : live) {
        // A callback of an earlier one may have closed this one already.
        if (state_->connections.contains(connection)) abort_connection(*connection);
      }
    });
    state_->close_posts();
    work_.reset();
    thread_.join();
  }
  state_->close_posts();
  state_->handler = nullptr;
}

void AsioServer::flush(Deadline by) {
  const auto written = std::make_shared<std::promise<void>>();
  const auto tell = [written] { written->set_value(); };
  // Behind all that exchanges have posted so far: one thread runs posted tasks in order.
  const bool posted = state_->post([state = state_, tell] {
    if (state->unwritten == 0) return tell();
    state->when_written.push_back(tell);
  });
  if (posted) written->get_future().wait_for(by.left());
}

void AsioServer::accept() {
  acceptor_.async_accept([this](error_code error, asio::ip::tcp::socket socket) {
    on_accept(error, std::move(socket));
  });
}

void AsioServer::on_accept(error_code error, asio::ip::tcp::socket socket) {
  if (!acceptor_.is_open()) return;
  if (error) {
    log_warn("http", "accept failed", {{"server", state_->options.name}, {"why", error.message()}});
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this](error_code stopped) {
      if (!stopped && acceptor_.is_open()) accept();
    });
    return;
  }
  if (state_->connections.size() >= state_->options.connections_max) {
    turn_away(std::move(socket));
  } else {
    start_connection(state_, std::move(socket));
  }
  accept();
}

/// Best effort: the answer is small enough for any socket buffer; nothing waits for this client.
void AsioServer::turn_away(asio::ip::tcp::socket socket) {
  Response response =
      error_answer(503, "more than " + std::to_string(state_->options.connections_max) +
                            " connections are open");
  response.headers["Retry-After"] = "1";
  const std::string bytes =
      response_head(response, "Connection: close\r\nContent-Length: " +
                                  std::to_string(response.body.size()) + "\r\n") +
      response.body;
  const ssize_t sent =
      ::send(socket.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) log_debug("http", "client turned away unanswered");
}

}  // namespace

std::string response_head(const Response& response, std::string_view framing) {
  const auto status = static_cast<unsigned>(response.status);
  std::string head = "HTTP/1.1 " + std::to_string(status) + " ";
  head += boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
  head += "\r\nServer: ebb\r\n";
  if (!response.content_type.empty() && status != 204) {
    head += "Content-Type: " + header_text(response.content_type) + "\r\n";
  }
  for (const auto& [name, value] : response.headers) {
    head += header_text(name) + ": " + header_text(value) + "\r\n";
  }
  head += framing;
  head += "\r\n";
  return head;
}

Response error_answer(int status, const std::string& message) {
  Response response;
  response.status = status;
  const char* type = status >= 500 ? "server_error" : "invalid_request_error";
  response.body = "{\"error\":{\"message\":\"" + json_text(message) + "\",\"type\":\"" + type +
                  "\",\"param\":null,\"code\":null}}";
  return response;
}

Result<std::unique_ptr<Server>> Server::start(const HostPort& address, ServerOptions options,
                                              Handler handler) {
  auto server = std::make_unique<AsioServer>(std::move(options), std::move(handler));
  EBB_TRY_VOID(server->listen(address));
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace ebb::http
