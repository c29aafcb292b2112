// A coordinator's connection to one store: connects, watches, connects again.
#include <mutex>
#include <optional>

#include "base/log.h"
#include "control.capnp.h"
#include "transport/control/codec.h"
#include "transport/control/coordinator_side.h"
#include "transport/control/rpc_client.h"

namespace ebb::control {
namespace {

constexpr int kMissedHeartbeats = 5;
constexpr Millis kConnectTime{3000};

/// Lives on the KJ thread; the two public getters are for any thread.
class State final : public std::enable_shared_from_this<State>, private kj::TaskSet::ErrorHandler {
 public:
  State(KjThread& thread, HostPort address, std::string token, Millis heartbeat)
      : thread_(thread),
        address_(std::move(address)),
        token_(std::move(token)),
        heartbeat_(heartbeat),
        tasks_(*this) {}

  std::string problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
  }
  void start() { tasks_.add(live()); }
  wire::StoreSession::Client* session() { return session_ ? &*session_ : nullptr; }
  void spawn(kj::Promise<void> promise) { tasks_.add(kj::mv(promise)); }
  KjThread& thread() { return thread_; }

 private:
  using AuthenticateReply = capnp::Response<wire::StoreHello::AuthenticateResults>;

  /// One life of the connection after the other.
  kj::Promise<void> live() {
    const auto by = Deadline::after(kConnectTime);
    auto reply =
        RpcClient::connect(thread_, address_, by).then([this](kj::Own<RpcClient>&& client) {
          client_ = kj::mv(client);
          auto call = client_->bootstrap().castAs<wire::StoreHello>().authenticateRequest();
          call.setProtocolVersion(kProtocolVersion);
          call.setClusterToken(token_);
          return call.send();
        });
    return thread_.until(by, kj::mv(reply))
        .then([this](AuthenticateReply&& answer) { return use(kj::mv(answer)); })
        .catch_([this](kj::Exception&& exception) { set_problem(describe(exception)); })
        .then([this] {
          session_.reset();
          client_ = nullptr;
          return thread_.after(heartbeat_);
        })
        .then([this] { return live(); });
  }

  kj::Promise<void> use(AuthenticateReply reply) {
    if (reply.hasError()) {
      set_problem(read(reply.getError()).message);
      return kj::READY_NOW;
    }
    session_ = reply.getSession();
    set_problem("");
    return watch();
  }

  /// Ends, by an exception, when a ping fails.
  kj::Promise<void> watch() {
    auto pong = session_->pingRequest().send().ignoreResult();
    return thread_.until(Deadline::after(kMissedHeartbeats * heartbeat_), kj::mv(pong))
        .then([this] { return thread_.after(heartbeat_); })
        .exclusiveJoin(client_->on_disconnect().then([]() -> kj::Promise<void> {
          return KJ_EXCEPTION(DISCONNECTED, "store closed the connection");
        }))
        .then([this] { return watch(); });
  }

  std::string describe(const kj::Exception& exception) const {
    if (exception.getType() == kj::Exception::Type::DISCONNECTED) {
      return session_ ? "connection lost" : "no connection to " + address_.text();
    }
    return to_error(exception, "store at " + address_.text()).message;
  }

  void set_problem(std::string problem) {
    const std::lock_guard lock(mutex_);
    if (problem != problem_) {
      if (problem.empty())
        log_info("control", "store connected", {{"store", address_.text()}});
      else
        log_warn("control", "store not connected", {{"store", address_.text()}, {"why", problem}});
    }
    problem_ = std::move(problem);
  }

  void taskFailed(kj::Exception&& exception) override {
    log_debug("control", "call ended", {{"error", to_error(exception, "store").message}});
  }

  KjThread& thread_;
  const HostPort address_;
  const std::string token_;
  const Millis heartbeat_;
  mutable std::mutex mutex_;
  std::string problem_ = "not connected yet";
  kj::Own<RpcClient> client_;
  std::optional<wire::StoreSession::Client> session_;
  kj::TaskSet tasks_;
};

class Link final : public StoreLink {
 public:
  Link(const HostPort& address, std::string token, Millis heartbeat) : thread_("ebb-store-link") {
    state_ = std::make_shared<State>(thread_, address, std::move(token), heartbeat);
    thread_.run_and_wait([this] { state_->start(); });
  }
  ~Link() noexcept override {
    thread_.run_and_wait([this] { state_.reset(); });
  }

  bool connected() const override { return problem().empty(); }
  std::string problem() const override { return state_->problem(); }

  void status(Deadline by, Answer<StoreStatus> answer) override {
    using Results = wire::StoreSession::StatusResults;
    call<StoreStatus>("store status", by, std::move(answer),
                      [](wire::StoreSession::Client& session) {
                        return session.statusRequest().send().then(
                            [](capnp::Response<Results>&& response) -> Result<StoreStatus> {
                              if (response.hasError()) return read(response.getError());
                              return read(response.getStatus());
                            });
                      });
  }

  void list(GranuleQuery query, Deadline by, Answer<GranulePage> answer) override {
    using Results = wire::StoreSession::ListResults;
    auto send = [query = std::move(query)](wire::StoreSession::Client& session) {
      auto request = session.listRequest();
      write(query, request.initQuery());
      return request.send().then([](capnp::Response<Results>&& response) -> Result<GranulePage> {
        if (response.hasError()) return read(response.getError());
        return read(response.getPage());
      });
    };
    call<GranulePage>("store list", by, std::move(answer), std::move(send));
  }

 private:
  /// `send` runs on the KJ thread and promises a Result<T>.
  template <class T, class Send>
  void call(const std::string& doing, Deadline by, Answer<T> answer, Send send) {
    const Once<T> once(std::move(answer), unavailable(doing + ": not connected"));
    thread_.queue()->post([this, doing, by, once, send = std::move(send)] {
      auto* session = state_ ? state_->session() : nullptr;
      if (session == nullptr) return;
      auto reply = kj::evalNow([&] { return send(*session); });
      state_->spawn(state_->thread()
                        .until(by, kj::mv(reply))
                        .then([once](Result<T>&& result) { once(std::move(result)); },
                              [once, doing](kj::Exception&& exception) {
                                once(to_error(exception, doing));
                              }));
    });
  }

  KjThread thread_;
  std::shared_ptr<State> state_;  // ends on the KJ thread
};

}  // namespace

std::unique_ptr<StoreLink> StoreLink::start(const HostPort& store_control,
                                            std::string cluster_token, Millis heartbeat) {
  return std::make_unique<Link>(store_control, std::move(cluster_token), heartbeat);
}

}  // namespace ebb::control
