#include "transport/control/rpc_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace ebb::control {
namespace {

constexpr uint64_t kMessageWordsMax = (128 * kMiB) / sizeof(capnp::word);

Error cannot_listen(const HostPort& address, int error) {
  if (error == EADDRINUSE) return unavailable("address already in use: " + address.text());
  return unavailable("cannot listen on " + address.text() + ": " + std::strerror(error));
}

}  // namespace

capnp::ReaderOptions reader_options() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = kMessageWordsMax;
  return options;
}

Result<ListenSocket> listen_on(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int lookup =
      ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (lookup != 0) {
    return unavailable("cannot listen on " + address.text() + ": " + ::gai_strerror(lookup));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return cannot_listen(address, errno);
  const int on = 1;
  // A restart must not wait for the old connections' TIME_WAIT. Accepted sockets inherit
  // TCP_NODELAY.
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (::bind(fd, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd, SOMAXCONN) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    const int error = errno;
    ::close(fd);
    return cannot_listen(address, error);
  }
  const auto port = bound.ss_family == AF_INET6
                        ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                        : reinterpret_cast<const sockaddr_in&>(bound).sin_port;
  return ListenSocket{fd, ntohs(port)};
}

struct RpcServer::Connection {
  Connection(kj::Own<kj::AsyncIoStream> s, capnp::Capability::Client bootstrap)
      : stream(kj::mv(s)),
        network(*stream, capnp::rpc::twoparty::Side::SERVER, reader_options()),
        rpc(capnp::makeRpcServer(network, kj::mv(bootstrap))) {
    rpc.setFlowLimit(kMessageWordsMax);
  }
  kj::Own<kj::AsyncIoStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
  bool kept = false;
};

RpcServer::RpcServer(KjThread& thread, ListenSocket socket, Callbacks callbacks)
    : thread_(thread), callbacks_(std::move(callbacks)), tasks_(*this) {
  using Provider = kj::LowLevelAsyncIoProvider;
  receiver_ = thread.io().lowLevelProvider->wrapListenSocketFd(
      socket.fd, Provider::TAKE_OWNERSHIP | Provider::ALREADY_CLOEXEC | Provider::ALREADY_NONBLOCK);
  tasks_.add(accept_loop());
}

RpcServer::~RpcServer() noexcept(false) = default;

kj::Promise<void> RpcServer::accept_loop() {
  return receiver_->accept()
      .then(
          [this](kj::Own<kj::AsyncIoStream>&& stream) -> kj::Promise<void> {
            add(kj::mv(stream));
            return kj::READY_NOW;
          },
          [this](kj::Exception&& exception) -> kj::Promise<void> {
            // Out of descriptors, most likely: those that are there go on, new ones wait.
            log_warn("control", "accept failed",
                     {{"error", to_error(exception, "accept").message}});
            return thread_.after(Millis(200));
          })
      .then([this] { return accept_loop(); });
}

void RpcServer::add(kj::Own<kj::AsyncIoStream> stream) {
  if (connections_.size() >= kConnectionsMax) {
    log_warn("control", "connection refused", {{"why", "too many"}, {"limit", kConnectionsMax}});
    return;  // closes it
  }
  const ConnectionId id = next_id_++;
  auto connection = kj::heap<Connection>(kj::mv(stream), callbacks_.make_bootstrap(id));
  tasks_.add(connection->network.onDisconnect().catch_([](kj::Exception&&) {}).then([this, id] {
    drop(id, "connection closed");
  }));
  tasks_.add(thread_.after(kHandshakeTime).then([this, id] {
    const auto found = connections_.find(id);
    if (found != connections_.end() && !found->second->kept) drop(id, "no handshake in time");
  }));
  connections_.emplace(id, kj::mv(connection));
}

void RpcServer::keep(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found != connections_.end()) found->second->kept = true;
}

void RpcServer::drop(ConnectionId id, std::string why) {
  tasks_.add(kj::evalLater([this, id, why = std::move(why)] {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return;
    auto connection = kj::mv(found->second);
    connections_.erase(found);
    connection = nullptr;
    callbacks_.on_closed(id, why);
  }));
}

void RpcServer::taskFailed(kj::Exception&& exception) {
  log_debug("control", "connection task ended", {{"error", to_error(exception, "rpc").message}});
}

}  // namespace ebb::control
