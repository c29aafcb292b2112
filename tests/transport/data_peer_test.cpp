// The messenger against peers in processes of their own: stopped, killed, restarted.
#include "tests/support/tree_paths.h"
#include "tests/transport/data_fixture.h"

namespace ebb::data {
namespace {

// --- Peers in processes of their own

class PeerTest : public DataTest {
 protected:
  void expect_stopped_within_a_reply(Memory memory);
  void expect_killed_within_replies(Memory memory);
  void start_peer(uint16_t port = 0) {
    peer_ = std::make_unique<ChildProcess>(ebb::test::built_path("tests/ebb_data_test_peer"),
                                           std::vector<std::string>{"serve", std::to_string(port)});
    const std::string line = peer_->read_line(Deadline::after(kLong));
    ASSERT_TRUE(line.starts_with("port ")) << line;
    port_ = static_cast<uint16_t>(std::stoi(line.substr(5)));
  }
  void connect_to_peer() {
    if (!client_) {
      client_ = start_messenger(512ull << 20, Millis(500), DeviceMemory::kAsHost);
    }
    auto made = client_->connect({"127.0.0.1", port_}, identity_of(), Deadline::after(kLong));
    ASSERT_TRUE(made) << made.error().text();
    connection_ = *made;
  }
  std::unique_ptr<ChildProcess> peer_;
  uint16_t port_ = 0;
};

TEST_F(PeerTest, AStoppedServerIsATimeoutAndTheDestinationIsOursAgain) {
  start_peer();
  connect_to_peer();
  ASSERT_TRUE(ask(*connection_, request_of(test::kCount)));
  peer_->signal(SIGSTOP);
  std::vector<std::byte> destination(16 << 20, std::byte{0xee});
  auto request = request_of(test::kProduce, Millis(300));
  request.header = test::u64_bytes({destination.size()});
  request.destination = destination;
  auto reply = ask(*connection_, std::move(request));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kTimeout);
  std::fill(destination.begin(), destination.end(), std::byte{0xaa});
  peer_->signal(SIGCONT);  // it answers now, late
  auto again = ask_until_connected(*connection_);
  EXPECT_TRUE(again) << again.error().text();
  EXPECT_TRUE(is_filled(destination, std::byte{0xaa}));
}

TEST_F(PeerTest, AStoppedServerIsNoticedWithoutARequest) {
  start_peer();
  client_ = start_messenger(512ull << 20, Millis(100));
  connect_to_peer();
  peer_->signal(SIGSTOP);
  EXPECT_TRUE(eventually([&] { return !connection_->connected(); }));
  peer_->signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return connection_->connected(); }));
}

TEST_F(PeerTest, AStoppedClientIsNoticedByTheServer) {
  auto handlers = test::handlers(kept_);
  handlers.on_disconnect = [this](uint64_t) { ++left_; };
  server_ = start_messenger(512ull << 20, Millis(500));
  ASSERT_TRUE(server_->listen({"127.0.0.1", 0}, handlers));
  ChildProcess idle(ebb::test::built_path("tests/ebb_data_test_peer"),
                    {"idle", std::to_string(server_->port())});
  ASSERT_EQ(idle.read_line(Deadline::after(kLong)), "connected");
  idle.signal(SIGSTOP);
  EXPECT_TRUE(eventually([&] { return left_ == 1; }));
}

TEST_F(PeerTest, AServerStoppedWithinAReplyIsATimeoutAndTheDestinationIsOursAgain) {
  expect_stopped_within_a_reply(Memory::kHost);
}

TEST_F(PeerTest, AServerStoppedWithinAReplyToADeviceLetsGoOfItsMemoryToo) {
  expect_stopped_within_a_reply(Memory::kDevice);
}

void PeerTest::expect_stopped_within_a_reply(Memory memory) {
  start_peer();
  connect_to_peer();
  std::vector<std::promise<Result<Reply>>> replies(8);
  std::vector<std::vector<std::byte>> destinations(replies.size());
  for (size_t i = 0; i < replies.size(); ++i) {
    destinations[i].resize(32 << 20);
    auto request = request_of(test::kProduce, i == 0 ? kLong : Millis(1500));
    request.header = test::u64_bytes({destinations[i].size()});
    request.destination = destinations[i];
    request.destination_memory = memory;
    connection_->send(std::move(request),
                      [&, i](Result<Reply> reply) { replies[i].set_value(std::move(reply)); });
  }
  auto first_reply = replies[0].get_future().get();
  EXPECT_TRUE(first_reply);
  peer_->signal(SIGSTOP);  // somewhere within the others
  int late = 0;
  for (size_t i = 1; i < replies.size(); ++i) {
    auto reply = replies[i].get_future().get();
    if (reply) continue;
    ++late;
    EXPECT_TRUE(reply.error().code == Code::kTimeout || reply.error().code == Code::kUnavailable)
        << reply.error().text();
  }
  EXPECT_GT(late, 0);
  for (auto& destination : destinations) {
    std::fill(destination.begin(), destination.end(), std::byte{0xaa});
  }
  peer_->signal(SIGCONT);
  EXPECT_TRUE(ask_until_connected(*connection_));
  for (auto& destination : destinations) {
    EXPECT_TRUE(is_filled(destination, std::byte{0xaa}));
  }
}

TEST_F(PeerTest, AKilledServersRequestsAreUnavailableAndItsSuccessorIsUsed) {
  expect_killed_within_replies(Memory::kHost);
}

TEST_F(PeerTest, AKilledServersRequestsToADeviceAreUnavailableToo) {
  expect_killed_within_replies(Memory::kDevice);
}

void PeerTest::expect_killed_within_replies(Memory memory) {
  start_peer();
  connect_to_peer();
  constexpr int kRequests = 8;
  std::vector<std::vector<std::byte>> destinations(kRequests);
  std::mutex mutex;
  std::condition_variable changed;
  int answered = 0, unavailable_seen = 0, other = 0;
  for (auto& destination : destinations) {
    destination.resize(32 << 20);
    auto request = request_of(test::kProduce);
    request.header = test::u64_bytes({destination.size()});
    request.destination = destination;
    request.destination_memory = memory;
    connection_->send(std::move(request), [&](Result<Reply> reply) {
      std::lock_guard lock(mutex);
      if (reply)
        ++answered;
      else if (reply.error().code == Code::kUnavailable)
        ++unavailable_seen;
      else
        ++other;
      changed.notify_all();
    });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return answered > 0; });
  }
  peer_->signal(SIGKILL);
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return answered + unavailable_seen + other == kRequests; });
  }
  EXPECT_GT(unavailable_seen, 0);
  EXPECT_EQ(other, 0);
  auto reply = ask(*connection_, request_of(test::kCount));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kUnavailable);
  start_peer(port_);  // the same port, at once
  reply = ask_until_connected(*connection_);
  EXPECT_TRUE(reply) << reply.error().text();
}

TEST_F(PeerTest, AClientKilledWithinARequestDoesNotDisturbTheServer) {
  auto handlers = test::handlers(kept_);
  handlers.on_disconnect = [this](uint64_t) { ++left_; };
  start(handlers, 64 << 20);
  for (int round = 1; round <= 3; ++round) {
    ChildProcess flood(ebb::test::built_path("tests/ebb_data_test_peer"),
                       {"flood", std::to_string(server_->port())});
    ASSERT_EQ(flood.read_line(Deadline::after(kLong)), "sent");
    flood.signal(SIGKILL);
    EXPECT_TRUE(eventually([&] { return left_ == round; }));
  }
  // All memory of the dead clients' requests is free again.
  const auto bytes = test::pattern_bytes(kPayloadMax);
  auto request = request_of(test::kCount);
  request.payload = {bytes};
  auto reply = ask(*connection_, std::move(request));
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(test::u64_at(reply->header, 0), kPayloadMax);
}

}  // namespace
}  // namespace ebb::data
