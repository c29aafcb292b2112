// A store's control server: handshake and status.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "transport/control/messages.h"

namespace ebb::control {

class StoreControlServer {
 public:
  /// `status` is called on the KJ thread and must not block. Errors: kUnavailable (address in use).
  static Result<std::unique_ptr<StoreControlServer>> listen(const HostPort& address,
                                                            std::string cluster_token,
                                                            std::function<StoreStatus()> status);
  virtual ~StoreControlServer() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace ebb::control
