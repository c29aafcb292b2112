// The control server of a coordinator: handshake, one WorkerLink per worker, heartbeats.
//
// ServerState lives on the KJ thread and owns every KJ object. Links and capabilities look at it
// through weak pointers, which are locked on the KJ thread only: so it also ends there.
#include "transport/control/coordinator_side.h"

#include <kj/debug.h>

#include "base/log.h"
#include "control.capnp.h"
#include "transport/control/codec.h"
#include "transport/control/rpc_client.h"
#include "transport/control/rpc_server.h"

namespace ebb::control {
namespace {

constexpr int kMissedHeartbeats = 5;
constexpr Millis kDisbandTime{5000};

using ConnectionId = RpcServer::ConnectionId;

class ServerState final : public std::enable_shared_from_this<ServerState>,
                          private kj::TaskSet::ErrorHandler {
 public:
  ServerState(KjThread& thread, std::string token, Millis heartbeat, CoordinatorHandlers handlers)
      : thread_(thread),
        token_(std::move(token)),
        heartbeat_(heartbeat),
        handlers_(std::move(handlers)),
        tasks_(*this) {}

  void start(ListenSocket socket);
  /// Result: the heartbeat that the worker shall expect.
  Result<Millis> admit(ConnectionId id, const WorkerHello& hello, wire::Worker::Client worker);
  void drop(ConnectionId id, std::string why) { server_->drop(id, std::move(why)); }
  wire::Worker::Client* worker(ConnectionId id);
  void spawn(kj::Promise<void> promise) { tasks_.add(kj::mv(promise)); }

  KjThread& thread() { return thread_; }
  const CoordinatorHandlers& handlers() const { return handlers_; }

 private:
  struct Peer {
    wire::Worker::Client worker;
    std::shared_ptr<WorkerLink> link;  // shared with the engine, which keeps it as long as it likes
  };
  void closed(ConnectionId id, const std::string& why);
  kj::Promise<void> watch_heartbeat(ConnectionId id);
  Result<void> check(const WorkerHello& hello) const;
  void taskFailed(kj::Exception&& exception) override {
    log_debug("control", "call ended", {{"error", to_error(exception, "call").message}});
  }

  KjThread& thread_;
  const std::string token_;
  const Millis heartbeat_;
  const CoordinatorHandlers handlers_;
  std::map<ConnectionId, Peer> peers_;
  kj::Own<RpcServer> server_;
  kj::TaskSet tasks_;
};

class Link final : public WorkerLink {
 public:
  Link(std::shared_ptr<TaskQueue> queue, std::weak_ptr<ServerState> state, ConnectionId id,
       WorkerHello hello)
      : queue_(std::move(queue)), state_(std::move(state)), id_(id), hello_(std::move(hello)) {
    hello_.cluster_token.clear();
  }

  const WorkerHello& hello() const override { return hello_; }

  void form(FormGroup request, Deadline by, Answer<FormReply> answer) override {
    auto send = [request = std::move(request)](wire::Worker::Client& worker) {
      auto call = worker.formRequest();
      write(request, call.initRequest());
      return call.send().then(
          [](capnp::Response<wire::Worker::FormResults>&& reply) -> Result<FormReply> {
            if (reply.hasError()) return read(reply.getError());
            return read(reply.getReply());
          });
    };
    call<FormReply>("form of the group", by, std::move(answer), std::move(send));
  }

  void run(Unit unit, Deadline by, Answer<UnitResult> answer) override {
    const std::string what = "unit " + std::to_string(unit.id.value);
    auto send = [unit = std::move(unit)](wire::Worker::Client& worker) {
      auto call = worker.runRequest();
      write(unit, call.initUnit());
      return call.send().then(
          [](capnp::Response<wire::Worker::RunResults>&& reply) -> Result<UnitResult> {
            if (reply.hasError()) return read(reply.getError());
            return read(reply.getResult());
          });
    };
    call<UnitResult>(what, by, std::move(answer), std::move(send));
  }

  void describe(SeqId seq, Deadline by, Answer<SequenceMap> answer) override {
    using Results = wire::Worker::DescribeResults;
    auto send = [seq](wire::Worker::Client& worker) {
      auto call = worker.describeRequest();
      call.setSeq(seq.value);
      return call.send().then([](capnp::Response<Results>&& reply) -> Result<SequenceMap> {
        if (reply.hasError()) return read(reply.getError());
        return read(reply.getMap());
      });
    };
    call<SequenceMap>("map of sequence " + std::to_string(seq.value), by, std::move(answer),
                      std::move(send));
  }

  void disband(Epoch epoch, std::string why) override {
    struct Nothing {};
    auto send = [epoch, why = std::move(why)](wire::Worker::Client& worker) {
      auto call = worker.disbandRequest();
      call.setEpoch(epoch.value);
      call.setWhy(why);
      return call.send().then([](auto&&) -> Result<Nothing> { return Nothing{}; });
    };
    call<Nothing>(
        "disband", Deadline::after(kDisbandTime), [](Result<Nothing>) {}, std::move(send));
  }

  void close() override {
    queue_->post([state = state_, id = id_] {
      if (const auto alive = state.lock()) alive->drop(id, "closed by the coordinator");
    });
  }

 private:
  template <class T, class Send>
  void call(const std::string& what, Deadline by, Answer<T> answer, Send send) {
    const std::string doing = hello_.node + ": " + what;
    const Once<T> once(std::move(answer), unavailable(doing + ": connection lost"));
    queue_->post([state = state_, id = id_, by, once, doing, send = std::move(send)] {
      const auto alive = state.lock();
      auto* worker = alive ? alive->worker(id) : nullptr;
      if (worker == nullptr) return;
      auto reply = kj::evalNow([&] { return send(*worker); });
      alive->spawn(alive->thread()
                       .until(by, kj::mv(reply))
                       .then([once](Result<T>&& result) { once(std::move(result)); },
                             [once, doing](kj::Exception&& exception) {
                               once(to_error(exception, doing));
                             }));
    });
  }

  const std::shared_ptr<TaskQueue> queue_;
  const std::weak_ptr<ServerState> state_;
  const ConnectionId id_;
  WorkerHello hello_;
};

/// What an accepted worker may ask. Every method allows cancellation, so that none outlives its
/// connection.
class Session final : public wire::WorkerSession::Server {
 public:
  Session(std::weak_ptr<ServerState> state, uint32_t rank)
      : state_(std::move(state)), rank_(rank) {}

  kj::Promise<void> publish(PublishContext context) override {
    context.allowCancellation();
    const auto state = state_.lock();
    KJ_REQUIRE(state != nullptr, "the coordinator is closing");
    auto request = read(context.getParams().getRequest());
    context.releaseParams();
    if (request.rank != rank_) {
      write(invalid("rank: published as " + std::to_string(request.rank) + ", joined as " +
                    std::to_string(rank_)),
            context.getResults().initError());
      return kj::READY_NOW;
    }
    return later<PublishReply>(state->thread().queue(),
                               [&](Answer<PublishReply> answer) {
                                 state->handlers().on_publish(std::move(request),
                                                              std::move(answer));
                               })
        .then([context](Result<PublishReply>&& reply) mutable {
          if (!reply) return write(reply.error(), context.getResults().initError());
          write(*reply, context.getResults().initReply());
        });
  }

  kj::Promise<void> rendezvousPut(RendezvousPutContext context) override {
    context.allowCancellation();
    if (const auto state = state_.lock()) {
      const auto params = context.getParams();
      const auto value = params.getValue();
      state->handlers().on_rendezvous_put(to_string(params.getKey()),
                                          std::string(value.asChars().begin(), value.size()));
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> rendezvousGet(RendezvousGetContext context) override {
    context.allowCancellation();
    const auto state = state_.lock();
    KJ_REQUIRE(state != nullptr, "the coordinator is closing");
    return later<std::string>(state->thread().queue(),
                              [&](Answer<std::string> answer) {
                                state->handlers().on_rendezvous_get(
                                    to_string(context.getParams().getKey()), std::move(answer));
                              })
        .then([context](Result<std::string>&& value) mutable {
          if (!value) return write(value.error(), context.getResults().initError());
          context.getResults().setValue(
              {reinterpret_cast<const capnp::byte*>(value->data()), value->size()});
        });
  }

 private:
  const std::weak_ptr<ServerState> state_;
  const uint32_t rank_;
};

class Hello final : public wire::CoordinatorHello::Server {
 public:
  Hello(std::weak_ptr<ServerState> state, ConnectionId id) : state_(std::move(state)), id_(id) {}

  kj::Promise<void> authenticate(AuthenticateContext context) override {
    const auto state = state_.lock();
    KJ_REQUIRE(state != nullptr, "the coordinator is closing");
    const auto hello = read(context.getParams().getHello());
    auto accepted = state->admit(id_, hello, context.getParams().getWorker());
    auto results = context.getResults();
    if (!accepted) {
      write(accepted.error(), results.initError());
      return kj::READY_NOW;
    }
    results.setSession(kj::heap<Session>(state_, hello.rank));
    results.setHeartbeatMillis(static_cast<uint32_t>(accepted->count()));
    return kj::READY_NOW;
  }

 private:
  const std::weak_ptr<ServerState> state_;
  const ConnectionId id_;
};

void ServerState::start(ListenSocket socket) {
  RpcServer::Callbacks callbacks;
  callbacks.make_bootstrap = [this](ConnectionId id) -> capnp::Capability::Client {
    return kj::heap<Hello>(weak_from_this(), id);
  };
  callbacks.on_closed = [this](ConnectionId id, const std::string& why) { closed(id, why); };
  server_ = kj::heap<RpcServer>(thread_, socket, std::move(callbacks));
}

Result<void> ServerState::check(const WorkerHello& hello) const {
  if (!same_secret(hello.cluster_token, token_)) {
    return invalid("cluster_token: the worker's is not this cluster's");
  }
  if (hello.protocol_version != kProtocolVersion) {
    return unsupported("protocol_version: the worker speaks " +
                       std::to_string(hello.protocol_version) + ", the coordinator " +
                       std::to_string(kProtocolVersion));
  }
  return {};
}

Result<Millis> ServerState::admit(ConnectionId id, const WorkerHello& hello,
                                  wire::Worker::Client worker) {
  if (peers_.contains(id)) return invalid("authenticate: this connection has shaken hands before");
  EBB_TRY_VOID(check(hello));
  auto link = std::make_shared<Link>(thread_.queue(), weak_from_this(), id, hello);
  peers_.emplace(id, Peer{kj::mv(worker), link});
  if (auto accepted = handlers_.on_worker(link); !accepted) {
    peers_.erase(id);
    return accepted.error();
  }
  server_->keep(id);
  tasks_.add(watch_heartbeat(id));
  return heartbeat_;
}

wire::Worker::Client* ServerState::worker(ConnectionId id) {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second.worker;
}

kj::Promise<void> ServerState::watch_heartbeat(ConnectionId id) {
  auto* peer = worker(id);
  if (peer == nullptr) return kj::READY_NOW;
  auto pong = peer->pingRequest().send().ignoreResult();
  return thread_.until(Deadline::after(kMissedHeartbeats * heartbeat_), kj::mv(pong))
      .then(
          [this, id] {
            return thread_.after(heartbeat_).then([this, id] { return watch_heartbeat(id); });
          },
          [this, id](kj::Exception&& exception) -> kj::Promise<void> {
            const bool silent = exception.getType() == kj::Exception::Type::OVERLOADED;
            drop(id, silent ? "no answer to pings for 5 heartbeats" : "connection closed");
            return kj::READY_NOW;
          });
}

void ServerState::closed(ConnectionId id, const std::string& why) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  const auto link = found->second.link;
  peers_.erase(found);
  handlers_.on_worker_gone(link, why);
}

class Server final : public ControlServer {
 public:
  Server(std::string token, Millis heartbeat, CoordinatorHandlers handlers, ListenSocket socket)
      : port_(socket.port), thread_("ebb-control") {
    thread_.run_and_wait([&] {
      state_ =
          std::make_shared<ServerState>(thread_, std::move(token), heartbeat, std::move(handlers));
      state_->start(socket);
    });
  }
  ~Server() noexcept override {
    thread_.run_and_wait([this] { state_.reset(); });
  }
  uint16_t port() const override { return port_; }

 private:
  const uint16_t port_;
  KjThread thread_;
  std::shared_ptr<ServerState>
      state_;  // shared with nobody for longer than one task of the KJ thread
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const HostPort& address,
                                                             std::string cluster_token,
                                                             Millis heartbeat,
                                                             CoordinatorHandlers handlers) {
  const auto socket = EBB_TRY(listen_on(address));
  return std::unique_ptr<ControlServer>(
      std::make_unique<Server>(std::move(cluster_token), heartbeat, std::move(handlers), socket));
}

}  // namespace ebb::control
