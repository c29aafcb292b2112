// A real store process beside a group of ranks: started, killed and started again by tests.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_paths.h"

namespace ebb::worker::testing {

class StoreProcess {
 public:
  /// `host_size` as the config spells it: what does not fit there goes to the SSD tier.
  explicit StoreProcess(const std::string& host_size) : port_(free_port()) {
    config_ = dir_.file(
        "store.yaml",
        "version: 1\ncluster_token: test-token\nrun_dir: " + dir_.path("run") +
            "\nstores:\n  - name: s0\n    data_address: 127.0.0.1:" + std::to_string(port_) +
            "\n    control_address: 127.0.0.1:" + std::to_string(free_port()) +
            "\n    metrics_address: 127.0.0.1:" + std::to_string(free_port()) +
            "\n    host_size: " + host_size + "\n    ssd_size: 256MiB\n    ssd_reserve: 64MiB\n");
    start();
  }
  void start() {
    process_ = std::make_unique<ebb::test::ChildProcess>(
        std::vector<std::string>{ebb::test::built_path("bin/ebb-kvstore"), "-c", config_, "--store",
                                 "s0"},
        dir_.path("store.log"));
  }
  void kill_hard() { process_->kill_hard(); }
  HostPort address() const { return {"127.0.0.1", port_}; }

 private:
  static uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EBB_CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    close(fd);
    return ntohs(address.sin_port);
  }
  ebb::test::TempDir dir_;
  uint16_t port_;
  std::string config_;
  std::unique_ptr<ebb::test::ChildProcess> process_;
};

}  // namespace ebb::worker::testing
