// A worker's connection to its coordinator: hello, then units one way and publishes the other.
//
// LinkState lives on the KJ thread and owns every KJ object; others reach it by weak pointers that
// are locked on the KJ thread only.
#include "transport/control/worker_side.h"

#include <kj/debug.h>

#include <optional>

#include "base/log.h"
#include "base/wait.h"
#include "control.capnp.h"
#include "transport/control/codec.h"
#include "transport/control/rpc_client.h"

namespace ebb::control {
namespace {

constexpr int kMissedHeartbeats = 5;
constexpr Millis kPutTime{10000};

class LinkState final : public std::enable_shared_from_this<LinkState>,
                        private kj::TaskSet::ErrorHandler {
 public:
  LinkState(KjThread& thread, WorkerHello hello, WorkerHandlers handlers)
      : thread_(thread), hello_(std::move(hello)), handlers_(std::move(handlers)), tasks_(*this) {}

  void connect(const HostPort& coordinator, Deadline by, Once<bool> connected);
  /// Null when the connection is gone.
  wire::WorkerSession::Client* session() { return session_ ? &*session_ : nullptr; }
  void spawn(kj::Promise<void> promise) { tasks_.add(kj::mv(promise)); }
  KjThread& thread() { return thread_; }
  const WorkerHandlers& handlers() const { return handlers_; }
  void pinged() { last_ping_ = Clock::now(); }

 private:
  using AuthenticateReply = capnp::Response<wire::CoordinatorHello::AuthenticateResults>;
  kj::Promise<AuthenticateReply> say_hello(kj::Own<RpcClient> client);
  Result<bool> accepted(AuthenticateReply reply);
  kj::Promise<void> watch_silence(Millis heartbeat);
  void disconnect(std::string why);
  void taskFailed(kj::Exception&& exception) override {
    log_debug("control", "call ended", {{"error", to_error(exception, "call").message}});
  }

  KjThread& thread_;
  WorkerHello hello_;
  const WorkerHandlers handlers_;
  kj::Own<RpcClient> client_;
  std::optional<wire::WorkerSession::Client> session_;
  TimePoint last_ping_{};
  kj::TaskSet tasks_;
};

/// What the coordinator may ask of us. Every method allows cancellation, so that none outlives the
/// connection.
class WorkerServer final : public wire::Worker::Server {
 public:
  explicit WorkerServer(std::weak_ptr<LinkState> state) : state_(std::move(state)) {}

  kj::Promise<void> ping(PingContext) override {
    if (const auto state = state_.lock()) state->pinged();
    return kj::READY_NOW;
  }

  kj::Promise<void> form(FormContext context) override {
    context.allowCancellation();
    const auto state = alive();
    auto start = [&](Answer<FormReply> answer) {
      state->handlers().on_form(read(context.getParams().getRequest()), std::move(answer));
    };
    return later<FormReply>(state->thread().queue(), start)
        .then([context](Result<FormReply>&& reply) mutable {
          if (!reply) return write(reply.error(), context.getResults().initError());
          write(*reply, context.getResults().initReply());
        });
  }

  kj::Promise<void> run(RunContext context) override {
    context.allowCancellation();
    const auto state = alive();
    auto unit = read(context.getParams().getUnit());
    context.releaseParams();
    auto start = [&](Answer<UnitResult> answer) {
      state->handlers().on_unit(std::move(unit), std::move(answer));
    };
    return later<UnitResult>(state->thread().queue(), start)
        .then([context](Result<UnitResult>&& result) mutable {
          if (!result) return write(result.error(), context.getResults().initError());
          write(*result, context.getResults().initResult());
        });
  }

  kj::Promise<void> describe(DescribeContext context) override {
    context.allowCancellation();
    const auto state = alive();
    auto start = [&](Answer<SequenceMap> answer) {
      state->handlers().on_describe({context.getParams().getSeq()}, std::move(answer));
    };
    return later<SequenceMap>(state->thread().queue(), start)
        .then([context](Result<SequenceMap>&& map) mutable {
          if (!map) return write(map.error(), context.getResults().initError());
          write(*map, context.getResults().initMap());
        });
  }

  kj::Promise<void> disband(DisbandContext context) override {
    const auto params = context.getParams();
    alive()->handlers().on_disband({params.getEpoch()}, to_string(params.getWhy()));
    return kj::READY_NOW;
  }

 private:
  std::shared_ptr<LinkState> alive() const {
    auto state = state_.lock();
    KJ_REQUIRE(state != nullptr, "the worker is closing");
    return state;
  }
  const std::weak_ptr<LinkState> state_;
};

void LinkState::connect(const HostPort& coordinator, Deadline by, Once<bool> connected) {
  const std::string doing = "coordinator at " + coordinator.text();
  auto reply =
      RpcClient::connect(thread_, coordinator, by).then([this](kj::Own<RpcClient>&& client) {
        return say_hello(kj::mv(client));
      });
  tasks_.add(thread_.until(by, kj::mv(reply))
                 .then([this, connected](
                           AuthenticateReply&& answer) { connected(accepted(kj::mv(answer))); },
                       [connected, doing](kj::Exception&& exception) {
                         auto error = to_error(exception, doing);
                         // Refused and cut off look alike to KJ; before the first answer both mean:
                         // nobody to talk to.
                         if (error.code == Code::kUnavailable)
                           error.message = doing + ": no connection";
                         connected(std::move(error));
                       }));
}

kj::Promise<LinkState::AuthenticateReply> LinkState::say_hello(kj::Own<RpcClient> client) {
  client_ = kj::mv(client);
  auto call = client_->bootstrap().castAs<wire::CoordinatorHello>().authenticateRequest();
  write(hello_, call.initHello());
  call.setWorker(kj::heap<WorkerServer>(weak_from_this()));
  hello_.cluster_token.clear();
  return call.send();
}

Result<bool> LinkState::accepted(AuthenticateReply reply) {
  if (reply.hasError()) return read(reply.getError());
  session_ = reply.getSession();
  const Millis heartbeat(reply.getHeartbeatMillis());
  if (heartbeat.count() == 0) return invalid("heartbeat: the coordinator's is 0 ms");
  pinged();
  tasks_.add(watch_silence(heartbeat));
  tasks_.add(client_->on_disconnect().catch_([](kj::Exception&&) {}).then([this] {
    disconnect("the coordinator closed the connection");
  }));
  return true;
}

kj::Promise<void> LinkState::watch_silence(Millis heartbeat) {
  return thread_.after(heartbeat).then([this, heartbeat]() -> kj::Promise<void> {
    if (!session_) return kj::READY_NOW;
    if (Clock::now() - last_ping_ <= kMissedHeartbeats * heartbeat) return watch_silence(heartbeat);
    disconnect("no ping from the coordinator for 5 heartbeats");
    return kj::READY_NOW;
  });
}

void LinkState::disconnect(std::string why) {
  // Later: the connection must not end under the feet of what runs on it.
  tasks_.add(kj::evalLater([this, why = std::move(why)] {
    if (!session_) return;
    session_.reset();
    client_ = nullptr;
    handlers_.on_disconnect(why);
  }));
}

class Link final : public CoordinatorLink {
 public:
  Link(WorkerHello hello, WorkerHandlers handlers) : thread_("ebb-control") {
    thread_.run_and_wait([&] {
      state_ = std::make_shared<LinkState>(thread_, std::move(hello), std::move(handlers));
    });
  }
  ~Link() noexcept override {
    thread_.run_and_wait([this] { state_.reset(); });
  }

  Result<void> connect(const HostPort& coordinator, Deadline by) {
    const auto connected = wait_for<bool>([&](auto done) {
      const Once<bool> once(done, unavailable("control thread ended"));
      thread_.queue()->post(
          [this, coordinator, by, once] { state_->connect(coordinator, by, once); });
    });
    if (!connected) return connected.error();
    return {};
  }

  Result<PublishReply> publish(PublishRequest request, Deadline by) override {
    using Results = wire::WorkerSession::PublishResults;
    return call<PublishReply>("publish", by, [&request](wire::WorkerSession::Client& session) {
      auto publish = session.publishRequest();
      write(request, publish.initRequest());
      return publish.send().then([](capnp::Response<Results>&& reply) -> Result<PublishReply> {
        if (reply.hasError()) return read(reply.getError());
        return read(reply.getReply());
      });
    });
  }

  Result<void> rendezvous_put(const std::string& key, const std::string& value) override {
    using Results = wire::WorkerSession::RendezvousPutResults;
    auto send = [&](wire::WorkerSession::Client& session) {
      auto put = session.rendezvousPutRequest();
      put.setKey(key);
      put.setValue({reinterpret_cast<const capnp::byte*>(value.data()), value.size()});
      return put.send().then([](capnp::Response<Results>&& reply) -> Result<bool> {
        if (reply.hasError()) return read(reply.getError());
        return true;
      });
    };
    const auto done = call<bool>("rendezvous put", Deadline::after(kPutTime), send);
    if (!done) return done.error();
    return {};
  }

  Result<std::string> rendezvous_get(const std::string& key, Deadline by) override {
    using Results = wire::WorkerSession::RendezvousGetResults;
    return call<std::string>("rendezvous get", by, [&key](wire::WorkerSession::Client& session) {
      auto get = session.rendezvousGetRequest();
      get.setKey(key);
      return get.send().then([](capnp::Response<Results>&& reply) -> Result<std::string> {
        if (reply.hasError()) return read(reply.getError());
        const auto value = reply.getValue();
        return std::string(value.asChars().begin(), value.size());
      });
    });
  }

 private:
  /// Waits; `send` may look at the caller's locals, because it has run when this returns.
  template <class T, class Send>
  Result<T> call(const std::string& doing, Deadline by, const Send& send) {
    EBB_CHECK(!thread_.queue()->on_loop_thread());
    return wait_for<T>([&](auto done) {
      const Once<T> once(done, unavailable(doing + ": connection to the coordinator lost"));
      thread_.queue()->post([this, doing, by, once, &send] {
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
    });
  }

  KjThread thread_;
  std::shared_ptr<LinkState>
      state_;  // shared with nobody for longer than one task of the KJ thread
};

}  // namespace

Result<std::unique_ptr<CoordinatorLink>> CoordinatorLink::connect(const HostPort& coordinator,
                                                                  WorkerHello hello,
                                                                  WorkerHandlers handlers,
                                                                  Deadline by) {
  auto link = std::make_unique<Link>(std::move(hello), std::move(handlers));
  EBB_TRY_VOID(link->connect(coordinator, by));
  return std::unique_ptr<CoordinatorLink>(std::move(link));
}

}  // namespace ebb::control
