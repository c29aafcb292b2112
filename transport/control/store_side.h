// A store's control server: handshake, status and lists of granules.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "transport/control/messages.h"

namespace ebb::control {

/// Called on the KJ thread; must not block. `list` answers exactly once, from any thread.
struct StoreHandlers {
  std::function<StoreStatus()> status = {};
  std::function<void(GranuleQuery, std::function<void(Result<GranulePage>)>)> list = {};
};

class StoreControlServer {
 public:
  /// Errors: kUnavailable (address in use).
  static Result<std::unique_ptr<StoreControlServer>> listen(const HostPort& address,
                                                            std::string cluster_token,
                                                            StoreHandlers handlers);
  virtual ~StoreControlServer() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace ebb::control
