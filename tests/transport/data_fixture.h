// What the messenger tests share: a server with a known answer to everything, and its client.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <random>
#include <thread>

#include "base/wait.h"
#include "tests/transport/child_process.h"
#include "tests/transport/data_test_service.h"
#include "transport/data/messenger.h"
#include "transport/data/wire.h"

namespace ebb::data {

using ebb::test::ChildProcess;

constexpr Millis kLong{20000};  ///< no test waits that long unless it fails

inline PeerIdentity identity_of(const std::string& node = "tester") {
  PeerIdentity identity;
  identity.cluster_token = "token";
  identity.node = node;
  identity.epoch = Epoch{7};
  return identity;
}

inline std::unique_ptr<Messenger> start_messenger(uint64_t in_flight_max = 512ull << 20,
                                                  Millis heartbeat = Millis(500),
                                                  DeviceMemory device = DeviceMemory::kNone) {
  MessengerOptions options;
  options.name = "data";
  options.heartbeat = heartbeat;
  options.cluster_token = "token";
  options.in_flight_max = in_flight_max;
  options.device_memory = device;
  auto made = Messenger::start(options);
  EXPECT_TRUE(made);
  return std::move(*made);
}

/// Waits until `condition` holds; false when it does not within kLong.
template <class Condition>
inline bool eventually(Condition condition) {
  const Deadline by = Deadline::after(kLong);
  while (!condition()) {
    if (by.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

inline bool is_filled(std::span<const std::byte> bytes, std::byte value) {
  return std::all_of(bytes.begin(), bytes.end(), [value](std::byte b) { return b == value; });
}

inline Connection::Request request_of(uint16_t operation, Millis deadline = kLong) {
  Connection::Request request;
  request.operation = operation;
  request.deadline = Deadline::after(deadline);
  return request;
}

inline Result<Reply> ask(Connection& connection, Connection::Request request) {
  return wait_for<Reply>([&](auto done) { connection.send(std::move(request), done); });
}

/// Asks until the connection is there again.
inline Result<Reply> ask_until_connected(Connection& connection) {
  const Deadline by = Deadline::after(kLong);
  for (;;) {
    auto reply = ask(connection, request_of(test::kCount));
    if (reply || reply.error().code != Code::kUnavailable || by.passed()) return reply;
    std::this_thread::yield();
  }
}

/// A server in this process, and a connection to it from another messenger.
class DataTest : public testing::Test {
 protected:
  void start(ServerHandlers handlers, uint64_t in_flight_max = 512ull << 20) {
    server_ = start_messenger(in_flight_max);
    auto listening = server_->listen({"127.0.0.1", 0}, std::move(handlers));
    ASSERT_TRUE(listening) << listening.error().text();
    client_ = start_messenger();
    auto made =
        client_->connect({"127.0.0.1", server_->port()}, identity_of(), Deadline::after(kLong));
    ASSERT_TRUE(made) << made.error().text();
    connection_ = *made;
  }
  void start() { start(test::handlers(kept_)); }

  /// Connections that a server saw end. Here, because the fixture's own connection ends after the
  /// test's body, and its locals, are gone.
  std::atomic<int> left_{0};
  std::shared_ptr<test::Kept> kept_ = std::make_shared<test::Kept>();
  std::unique_ptr<Messenger> server_;
  std::unique_ptr<Messenger> client_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace ebb::data
