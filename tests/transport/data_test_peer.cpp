// The other end in a process of its own, for tests that kill or stop it.
//   serve PORT           prints "port N", serves until stdin ends
//   flood HOST:PORT      sends 16 MiB requests one after another, prints "sent" after the first
//   answer
#include <signal.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "base/wait.h"
#include "tests/transport/data_test_service.h"

namespace {
using namespace ebb;
using namespace ebb::data;

int serve(uint16_t port) {
  auto messenger = Messenger::start({"data", "token"});
  if (!messenger) return 1;
  auto kept = std::make_shared<test::Kept>();
  auto listening = (*messenger)->listen({"127.0.0.1", port}, test::handlers(kept));
  if (!listening) {
    std::cout << "failed " << listening.error().text() << std::endl;
    return 1;
  }
  std::cout << "port " << (*messenger)->port() << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  return 0;
}

int be_client(uint16_t port, bool flood) {
  auto messenger = Messenger::start({"data", "token"});
  if (!messenger) return 1;
  PeerIdentity identity;
  identity.cluster_token = "token";
  identity.node = "flood";
  auto connection =
      (*messenger)->connect({"127.0.0.1", port}, identity, Deadline::after(Millis(10000)));
  if (!connection) return 1;
  if (!flood) {
    std::cout << "connected" << std::endl;
    std::string line;
    return std::getline(std::cin, line) ? 0 : 1;
  }
  const auto bytes = test::pattern_bytes(16 << 20);
  for (int round = 0;; ++round) {
    auto reply = wait_for<Reply>([&](auto done) {
      Connection::Request request;
      request.operation = test::kCount;
      request.payload = {bytes};
      request.deadline = Deadline::after(Millis(20000));
      (*connection)->send(std::move(request), done);
    });
    if (!reply) return 1;
    if (round == 0) std::cout << "sent" << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed may have left us stopped
  if (argc != 3) return 2;
  const auto port = static_cast<uint16_t>(std::atoi(argv[2]));
  const std::string role = argv[1];
  return role == "serve" ? serve(port) : be_client(port, role == "flood");
}
