// Accepts connections, bounded in number and in patience, and gives each the bootstrap capability
// that its owner makes. Internal to this folder. Knows nothing of what is said on a connection.
#pragma once

#include <capnp/rpc-twoparty.h>

#include <functional>
#include <map>
#include <string>

#include "base/units.h"
#include "transport/control/kj_thread.h"

namespace ebb::control {

/// Of one message, either way: 128 MiB. A larger one fails at the sender; one that claims more ends
/// its connection.
capnp::ReaderOptions reader_options();

struct ListenSocket {
  int fd = -1;
  uint16_t port = 0;
};
/// Errors: kUnavailable ("address already in use: 127.0.0.1:7400"). Any thread.
Result<ListenSocket> listen_on(const HostPort& address);

/// Every method, and the callbacks, on the loop's thread.
class RpcServer final : private kj::TaskSet::ErrorHandler {
 public:
  using ConnectionId = uint64_t;
  struct Callbacks {
    std::function<capnp::Capability::Client(ConnectionId)> make_bootstrap;
    /// not for those that live at the end
    std::function<void(ConnectionId, std::string why)> on_closed;
  };
  static constexpr size_t kConnectionsMax = 64;
  static constexpr Millis kHandshakeTime{5000};

  RpcServer(KjThread& thread, ListenSocket socket, Callbacks callbacks);
  ~RpcServer() noexcept(false);
  /// The peer has shaken hands: it may stay.
  void keep(ConnectionId id);
  /// Closes soon, never inside the caller: a connection must not end under its own feet.
  void drop(ConnectionId id, std::string why);

 private:
  struct Connection;
  kj::Promise<void> accept_loop();
  void add(kj::Own<kj::AsyncIoStream> stream);
  void taskFailed(kj::Exception&& exception) override;

  KjThread& thread_;
  Callbacks callbacks_;
  kj::Own<kj::ConnectionReceiver> receiver_;
  ConnectionId next_id_ = 1;
  std::map<ConnectionId, kj::Own<Connection>> connections_;
  kj::TaskSet tasks_;  // last: what runs is cancelled before what it uses goes
};

}  // namespace ebb::control
