// Stands for ebb-coordinator in tests of `ebbctl up`: same flags, same config, real HTTP; ready
// after its first question, so that waiting is seen. Ends on SIGTERM.
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <string>

#include "base/cluster_config.h"
#include "transport/http/server.h"

int main(int argc, char** argv) {
  std::string config;
  std::map<std::string, std::string> overrides;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "-c") config = argv[i + 1];
    if (std::string(argv[i]) == "--set") (void)ebb::add_override(overrides, argv[i + 1]);
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const auto loaded = ebb::load_cluster_config(config, overrides);
  if (!loaded) {
    std::fprintf(stderr, "%s\n", loaded.error().text().c_str());
    return 2;
  }
  std::atomic<int> asked{0};
  const auto server = ebb::http::Server::start(
      loaded->config.coordinator.http_address, {},
      [&](const ebb::http::Request&, const std::shared_ptr<ebb::http::Exchange>& exchange) {
        ebb::http::Response response;
        response.status = asked++ == 0 ? 503 : 200;
        response.body = R"({"ready":false,"not_ready_because":"ranks 0 1 of g0"})";
        exchange->send(response);
      });
  if (!server) {
    std::fprintf(stderr, "%s\n", server.error().text().c_str());
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}
