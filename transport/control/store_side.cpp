// A store's control server: handshake, status and lists of granules.
#include "transport/control/store_side.h"

#include <kj/debug.h>

#include "control.capnp.h"
#include "transport/control/codec.h"
#include "transport/control/rpc_client.h"
#include "transport/control/rpc_server.h"

namespace ebb::control {
namespace {

class Session final : public wire::StoreSession::Server {
 public:
  Session(std::shared_ptr<TaskQueue> queue, StoreHandlers handlers)
      : queue_(std::move(queue)), handlers_(std::move(handlers)) {}
  kj::Promise<void> ping(PingContext) override { return kj::READY_NOW; }
  kj::Promise<void> status(StatusContext context) override {
    write(handlers_.status(), context.getResults().initStatus());
    return kj::READY_NOW;
  }
  kj::Promise<void> list(ListContext context) override {
    context.allowCancellation();
    auto start = [&](std::function<void(Result<GranulePage>)> answer) {
      handlers_.list(read(context.getParams().getQuery()), std::move(answer));
    };
    return later<GranulePage>(queue_, start).then([context](Result<GranulePage>&& page) mutable {
      if (!page) return write(page.error(), context.getResults().initError());
      write(*page, context.getResults().initPage());
    });
  }

 private:
  const std::shared_ptr<TaskQueue> queue_;
  const StoreHandlers handlers_;
};

class StoreServer final : public StoreControlServer {
 public:
  StoreServer(ListenSocket socket, std::string token, StoreHandlers handlers)
      : port_(socket.port),
        token_(std::move(token)),
        handlers_(std::move(handlers)),
        thread_("ebb-control") {
    thread_.run_and_wait([&] {
      RpcServer::Callbacks callbacks;
      callbacks.make_bootstrap = [this](RpcServer::ConnectionId id) -> capnp::Capability::Client {
        return kj::heap<Hello>(*this, id);
      };
      callbacks.on_closed = [](RpcServer::ConnectionId, const std::string&) {};
      server_ = kj::heap<RpcServer>(thread_, socket, std::move(callbacks));
    });
  }
  ~StoreServer() noexcept override {
    thread_.run_and_wait([this] { server_ = nullptr; });
  }
  uint16_t port() const override { return port_; }

 private:
  /// Its method ends in the turn in which it begins, so it does not outlive its connection, nor
  /// that the server.
  class Hello final : public wire::StoreHello::Server {
   public:
    Hello(StoreServer& server, RpcServer::ConnectionId id) : server_(server), id_(id) {}
    kj::Promise<void> authenticate(AuthenticateContext context) override {
      const auto params = context.getParams();
      auto accepted =
          server_.check(params.getProtocolVersion(), to_string(params.getClusterToken()));
      auto results = context.getResults();
      if (!accepted) {
        write(accepted.error(), results.initError());
        return kj::READY_NOW;
      }
      server_.server_->keep(id_);
      results.setSession(kj::heap<Session>(server_.thread_.queue(), server_.handlers_));
      return kj::READY_NOW;
    }

   private:
    StoreServer& server_;
    const RpcServer::ConnectionId id_;
  };

  Result<void> check(uint32_t version, const std::string& token) const {
    if (!same_secret(token, token_)) {
      return invalid("cluster_token: the coordinator's is not this cluster's");
    }
    if (version != kProtocolVersion) {
      return unsupported("protocol_version: the coordinator speaks " + std::to_string(version) +
                         ", the store " + std::to_string(kProtocolVersion));
    }
    return {};
  }

  const uint16_t port_;
  const std::string token_;
  const StoreHandlers handlers_;
  KjThread thread_;
  kj::Own<RpcServer> server_;  // on the KJ thread
};

}  // namespace

Result<std::unique_ptr<StoreControlServer>> StoreControlServer::listen(const HostPort& address,
                                                                       std::string cluster_token,
                                                                       StoreHandlers handlers) {
  const auto socket = EBB_TRY(listen_on(address));
  return std::unique_ptr<StoreControlServer>(
      std::make_unique<StoreServer>(socket, std::move(cluster_token), std::move(handlers)));
}

}  // namespace ebb::control
