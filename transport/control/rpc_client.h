// One outgoing connection. Internal to this folder; everything on the loop's thread.
#pragma once

#include <capnp/rpc-twoparty.h>

#include "base/units.h"
#include "transport/control/kj_thread.h"

namespace ebb::control {

class RpcClient {
 public:
  explicit RpcClient(kj::Own<kj::AsyncIoStream> stream);
  /// Rejected as DISCONNECTED when nobody listens there, OVERLOADED when `by` has passed.
  static kj::Promise<kj::Own<RpcClient>> connect(KjThread& thread, const HostPort& address,
                                                 Deadline by);

  /// What the peer gives to everybody.
  capnp::Capability::Client bootstrap();
  kj::Promise<void> on_disconnect() { return network_.onDisconnect(); }

 private:
  kj::Own<kj::AsyncIoStream> stream_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

/// Equal, in a time that does not tell where they differ.
bool same_secret(const std::string& a, const std::string& b);

}  // namespace ebb::control
