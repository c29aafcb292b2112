// Exchange: the handler's end of one request. Any thread calls it; it keeps the books that must
// answer at once (who may still write, how much waits) and posts the rest to the connection's
// thread.
#include "transport/http/connection.h"

namespace ebb::http {
namespace {

class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::shared_ptr<ServerState> server, std::shared_ptr<Connection> connection,
                     std::shared_ptr<ExchangeState> state)
      : server_(std::move(server)), connection_(std::move(connection)), state_(std::move(state)) {}
  ~ConnectionExchange() override {
    if (phase_.load() == Phase::kDone) return;
    post([](Connection& c, const std::shared_ptr<ExchangeState>& s) { c.abandon(s); });
  }

  void send(Response response) override {
    if (!advance(Phase::kFresh, Phase::kDone)) return;
    auto shared = std::make_shared<Response>(std::move(response));
    post([shared](Connection& c, const std::shared_ptr<ExchangeState>& s) {
      c.answer(s, std::move(*shared));
    });
  }
  void begin_stream(Response head) override {
    if (!advance(Phase::kFresh, Phase::kStreaming)) return;
    auto shared = std::make_shared<Response>(std::move(head));
    post([shared](Connection& c, const std::shared_ptr<ExchangeState>& s) {
      c.begin_stream(s, *shared);
    });
  }
  bool write(std::string bytes) override {
    if (state_->gone.load() || phase_.load() != Phase::kStreaming) return false;
    if (bytes.empty()) return true;
    const uint64_t waiting = state_->backlog.fetch_add(bytes.size()) + bytes.size();
    if (waiting > server_->options.stream_backlog_max) {
      state_->gone.store(true);
      post([](Connection& c, const std::shared_ptr<ExchangeState>& s) { c.abandon(s); });
      return false;
    }
    auto shared = std::make_shared<std::string>(std::move(bytes));
    return post([shared](Connection& c, const std::shared_ptr<ExchangeState>& s) {
      c.stream_piece(s, std::move(*shared));
    });
  }
  void finish() override {
    if (!advance(Phase::kStreaming, Phase::kDone)) return;
    post([](Connection& c, const std::shared_ptr<ExchangeState>& s) { c.end_stream(s); });
  }
  void on_disconnect(std::function<void()> callback) override {
    std::lock_guard lock(state_->mutex);
    if (!state_->gone.load()) {
      state_->on_disconnect = std::move(callback);
      return;
    }
    server_->post([callback = std::move(callback)] { callback(); });
  }

 private:
  enum class Phase { kFresh, kStreaming, kDone };
  bool advance(Phase from, Phase to) { return phase_.compare_exchange_strong(from, to); }
  template <class Act>
  bool post(Act act) {
    return server_->post(
        [connection = connection_, state = state_, act] { act(*connection, state); });
  }

  std::shared_ptr<ServerState> server_;
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<ExchangeState> state_;
  std::atomic<Phase> phase_{Phase::kFresh};
};

}  // namespace

std::shared_ptr<Exchange> make_exchange(std::shared_ptr<ServerState> server,
                                        std::shared_ptr<Connection> connection,
                                        std::shared_ptr<ExchangeState> state) {
  return std::make_shared<ConnectionExchange>(std::move(server), std::move(connection),
                                              std::move(state));
}

}  // namespace ebb::http
