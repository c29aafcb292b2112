#include "transport/collective/socket_text.h"

#include <netdb.h>

#include <cstring>
#include <memory>

namespace ebb::collective {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<AddressList> look_up(const std::string& host, const char* port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), port, &hints, &found);
  if (status != 0) return unavailable("host \"" + host + "\": " + gai_strerror(status));
  return AddressList(found, &freeaddrinfo);
}

Result<std::string> numeric_host(const sockaddr* address, socklen_t size, std::string* port) {
  char host[NI_MAXHOST];
  char service[NI_MAXSERV];
  const int status = getnameinfo(address, size, host, sizeof host, service, sizeof service,
                                 NI_NUMERICHOST | NI_NUMERICSERV);
  if (status != 0) return internal_error(std::string("getnameinfo: ") + gai_strerror(status));
  if (port != nullptr) *port = service;
  return std::string(host);
}

}  // namespace

Result<std::string> address_to_text(const sockaddr_storage& address) {
  const bool is_v6 = address.ss_family == AF_INET6;
  const socklen_t size = is_v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  std::string port;
  const std::string host =
      EBB_TRY(numeric_host(reinterpret_cast<const sockaddr*>(&address), size, &port));
  return (is_v6 ? "[" + host + "]" : host) + ":" + port;
}

Result<sockaddr_storage> address_from_text(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return invalid("address \"" + text + "\" has no port");
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  const auto list = look_up(host, text.c_str() + colon + 1, AI_NUMERICHOST | AI_NUMERICSERV);
  if (!list) return invalid("address \"" + text + "\" is not numeric");
  sockaddr_storage address{};
  std::memcpy(&address, (*list)->ai_addr, (*list)->ai_addrlen);
  return address;
}

Result<std::string> resolve_host(const std::string& host) {
  const auto list = EBB_TRY(look_up(host, nullptr, 0));
  return numeric_host(list->ai_addr, list->ai_addrlen, nullptr);
}

}  // namespace ebb::collective
