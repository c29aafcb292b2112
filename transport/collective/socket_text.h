// Socket addresses as text, both ways, numeric only. What ranks leave for each other in the
// rendezvous.
#pragma once

#include <sys/socket.h>

#include <string>

#include "base/result.h"

namespace ebb::collective {

/// "127.0.0.1:40001" or "[::1]:40001".
Result<std::string> address_to_text(const sockaddr_storage& address);
/// Errors: kInvalid when `text` is not a numeric address and port.
Result<sockaddr_storage> address_from_text(const std::string& text);
/// A host name or address as a numeric address. Errors: kUnavailable when it does not resolve.
Result<std::string> resolve_host(const std::string& host);

}  // namespace ebb::collective
