#include "transport/control/rpc_client.h"

#include "transport/control/rpc_server.h"

namespace ebb::control {

RpcClient::RpcClient(kj::Own<kj::AsyncIoStream> stream)
    : stream_(kj::mv(stream)),
      network_(*stream_, capnp::rpc::twoparty::Side::CLIENT, reader_options()),
      rpc_(capnp::makeRpcClient(network_)) {}

kj::Promise<kj::Own<RpcClient>> RpcClient::connect(KjThread& thread, const HostPort& address,
                                                   Deadline by) {
  const bool needs_brackets = address.host.find(':') != std::string::npos;
  const std::string host = needs_brackets ? "[" + address.host + "]" : address.host;
  auto connected = thread.io()
                       .provider->getNetwork()
                       .parseAddress(host.c_str(), address.port)
                       .then([](kj::Own<kj::NetworkAddress>&& target) {
                         auto stream = target->connect();
                         return stream.attach(kj::mv(target));
                       })
                       .then([](kj::Own<kj::AsyncIoStream>&& stream) {
                         return kj::heap<RpcClient>(kj::mv(stream));
                       });
  return thread.until(by, kj::mv(connected));
}

capnp::Capability::Client RpcClient::bootstrap() {
  capnp::MallocMessageBuilder message(8);
  auto server = message.initRoot<capnp::rpc::twoparty::VatId>();
  server.setSide(capnp::rpc::twoparty::Side::SERVER);
  return rpc_.bootstrap(server);
}

bool same_secret(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
  }
  return difference == 0;
}

}  // namespace ebb::control
