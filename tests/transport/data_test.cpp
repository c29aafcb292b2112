// The messenger over real UCX and loopback sockets: what arrives, what is refused, and what happens
// when a peer is slow, stopped, killed or not one of ours.
#include "tests/transport/data_fixture.h"

namespace ebb::data {
namespace {

TEST_F(DataTest, PayloadsOfAllSizesComeBackWhole) {
  start();
  for (uint64_t size :
       {0ull, 1ull, 8ull << 10, (16ull << 10) + 1, 1ull << 20, 48ull << 20, 64ull << 20}) {
    const auto sent = test::pattern_bytes(size);
    std::vector<std::byte> received(size + 3, std::byte{0xee});
    auto request = request_of(test::kEcho);
    request.header = test::u64_bytes({size});
    const std::span<const std::byte> all(sent);
    request.payload = {all.first(size / 2), {}, all.subspan(size / 2)};
    request.destination = received;
    auto reply = ask(*connection_, std::move(request));
    ASSERT_TRUE(reply) << reply.error().text();
    EXPECT_EQ(reply->payload_bytes, size);
    EXPECT_EQ(test::u64_at(reply->header, 0), size);
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), received.begin()));
    EXPECT_TRUE(is_filled(std::span(received).subspan(size), std::byte{0xee}));
  }
}

TEST_F(DataTest, LargeHeadersTravelWithAndWithoutPayloads) {
  start();
  for (uint32_t header : {1u, 4096u, 20000u, kHeaderMax}) {
    for (uint64_t size : {0ull, 100ull, 300000ull}) {
      const auto sent = test::pattern_bytes(size);
      auto request = request_of(test::kEcho);
      request.header = test::pattern_bytes(header);
      request.payload = {sent};
      std::vector<std::byte> received(size);
      request.destination = received;
      auto reply = ask(*connection_, std::move(request));
      ASSERT_TRUE(reply) << reply.error().text();
      EXPECT_EQ(reply->header, test::pattern_bytes(header));
      EXPECT_EQ(received, sent);
    }
  }
}

TEST_F(DataTest, APayloadOfThousandsOfPartsIsGathered) {
  start();
  const auto sent = test::pattern_bytes(4 << 20);
  auto request = request_of(test::kEcho);
  for (size_t at = 0; at < sent.size(); at += 512) {
    request.payload.push_back(std::span(sent).subspan(at, 512));
  }
  std::vector<std::byte> received(sent.size());
  request.destination = received;
  auto reply = ask(*connection_, std::move(request));
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(received, sent);
}

TEST_F(DataTest, ManyRequestsFromManyThreadsAllComeBack) {
  start();
  constexpr int kThreads = 4;
  constexpr int kRounds = 30;
  std::vector<std::thread> threads;
  std::atomic<int> whole{0};
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<unsigned>(thread));
      std::mutex mutex;
      std::condition_variable changed;
      int left = kRounds;
      std::vector<std::vector<std::byte>> sent(kRounds), received(kRounds);
      for (int round = 0; round < kRounds; ++round) {
        sent[round] = test::pattern_bytes(random() % (round % 3 == 0 ? 400000 : 3000));
        sent[round].push_back(static_cast<std::byte>(thread * 37 + round));
        received[round].resize(sent[round].size());
        auto request = request_of(test::kEcho);
        request.payload = {sent[round]};
        request.destination = received[round];
        connection_->send(std::move(request), [&, round](Result<Reply> reply) {
          if (reply && received[round] == sent[round]) ++whole;
          std::lock_guard lock(mutex);
          if (--left == 0) changed.notify_all();
        });
      }
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return left == 0; });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(whole, kThreads * kRounds);
}

TEST_F(DataTest, AReplyThatDoesNotFitIsAnErrorAndTouchesNothing) {
  start();
  for (uint64_t size : {100ull, 1ull << 20}) {
    std::vector<std::byte> memory(size + 64, std::byte{0xee});
    auto request = request_of(test::kProduce);
    request.header = test::u64_bytes({size});
    request.destination = std::span(memory).first(size - 1);
    auto reply = ask(*connection_, std::move(request));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kInvalid);
    EXPECT_TRUE(is_filled(memory, std::byte{0xee}));
  }
  EXPECT_TRUE(ask(*connection_, request_of(test::kCount)));
}

TEST_F(DataTest, TheServersErrorsArriveWithCodeAndText) {
  start();
  auto reply = ask(*connection_, request_of(test::kRefuse));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().text(), "not_found: operation 5");
  reply = ask(*connection_, request_of(999));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().text(), "not_found: operation 999");
}

TEST_F(DataTest, AnUnansweredResponderAnswersForItself) {
  start();
  auto reply = ask(*connection_, request_of(test::kDrop));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kInternal);
}

TEST_F(DataTest, OversizeRequestsAreRefusedBeforeSending) {
  start();
  auto request = request_of(test::kCount);
  request.header.resize(kHeaderMax + 1);
  auto reply = ask(*connection_, std::move(request));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kInvalid);
  std::vector<std::byte> large(kPayloadMax / 2 + 1);
  request = request_of(test::kCount);
  request.payload = {large, large};
  reply = ask(*connection_, std::move(request));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kInvalid);
  EXPECT_TRUE(ask(*connection_, request_of(test::kCount)));
}

TEST_F(DataTest, HandlersSeeWhoAsksAndTheEpoch) {
  std::mutex mutex;
  std::vector<std::string> seen;
  ServerHandlers handlers;
  handlers.on_hello = [&](uint64_t, const PeerIdentity& peer) -> Result<void> {
    std::lock_guard lock(mutex);
    seen.push_back("hello " + peer.node + " " + std::to_string(peer.hello.size()));
    return {};
  };
  handlers.on_request = [&](IncomingRequest request, Responder respond) {
    std::lock_guard lock(mutex);
    seen.push_back(request.peer->node + " " + std::to_string(request.peer->epoch.value));
    respond(OutgoingReply{});
  };
  handlers.on_disconnect = [this](uint64_t) { ++left_; };
  start(handlers);
  EXPECT_TRUE(ask(*connection_, request_of(1)));
  auto other = identity_of("other");
  other.epoch = Epoch{8};
  other.hello.resize(4096);
  auto made = client_->connect({"127.0.0.1", server_->port()}, other, Deadline::after(kLong));
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_TRUE(ask(**made, request_of(1)));
  {
    std::lock_guard lock(mutex);
    const std::vector<std::string> wanted{"hello tester 0", "tester 7", "hello other 4096",
                                          "other 8"};
    EXPECT_EQ(seen, wanted);
  }
  EXPECT_EQ(left_, 0);
  made->reset();
  EXPECT_TRUE(eventually([&] { return left_ == 1; }));
}

TEST_F(DataTest, KeepAliveIsReleasedWhenTheReplyWasSent) {
  std::weak_ptr<std::vector<std::byte>> watched;
  ServerHandlers handlers;
  handlers.on_request = [&](IncomingRequest, Responder respond) {
    auto bytes = std::make_shared<std::vector<std::byte>>(test::pattern_bytes(1 << 20));
    watched = bytes;
    OutgoingReply reply;
    reply.payload = {*bytes};
    reply.keep_alive = std::move(bytes);
    respond(std::move(reply));
  };
  start(handlers);
  std::vector<std::byte> received(1 << 20);
  auto request = request_of(1);
  request.destination = received;
  ASSERT_TRUE(ask(*connection_, std::move(request)));
  EXPECT_TRUE(eventually([&] { return watched.expired(); }));
}

TEST_F(DataTest, RequestsBeyondTheServersMemoryAreExhaustedNotLost) {
  start(test::handlers(kept_), 3 << 20);
  const auto bytes = test::pattern_bytes(1 << 20);
  std::vector<std::shared_ptr<std::atomic<int>>> codes;
  for (int i = 0; i < 3; ++i) {
    auto request = request_of(test::kSilence);
    request.payload = {bytes};
    auto code = std::make_shared<std::atomic<int>>(-1);
    connection_->send(std::move(request), [code](Result<Reply> reply) {
      *code = reply ? 100 : static_cast<int>(reply.error().code);
    });
    codes.push_back(code);
  }
  auto request = request_of(test::kCount);
  request.payload = {bytes};
  auto reply = ask(*connection_, std::move(request));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kExhausted) << reply.error().text();
  // What was answered makes room again.
  EXPECT_TRUE(eventually([&] {
    std::lock_guard lock(kept_->mutex);
    return kept_->responders.size() == 3;
  }));
  for (auto& respond : std::exchange(kept_->responders, {})) respond(OutgoingReply{});
  request = request_of(test::kCount);
  request.payload = {bytes};
  EXPECT_TRUE(ask(*connection_, std::move(request)));
}

TEST_F(DataTest, ALateAnswerIsATimeoutAndTheConnectionGoesOn) {
  start();
  auto reply = ask(*connection_, request_of(test::kSilence, Millis(50)));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kTimeout);
  {
    std::lock_guard lock(kept_->mutex);
    ASSERT_EQ(kept_->responders.size(), 1u);
    auto late = std::make_shared<std::vector<std::byte>>(1 << 20);
    OutgoingReply outgoing;
    outgoing.payload = {*late};
    outgoing.keep_alive = late;
    kept_->responders[0](std::move(outgoing));  // nobody waits for it any more
  }
  EXPECT_TRUE(ask(*connection_, request_of(test::kCount)));
  EXPECT_TRUE(connection_->connected());
}

TEST_F(DataTest, TheEndOfAMessengerCancelsWhatIsUnderWay) {
  start();
  std::atomic<int> cancelled_seen{0};
  const auto bytes = test::pattern_bytes(8 << 20);
  for (int i = 0; i < 10; ++i) {
    auto request = request_of(test::kSilence);
    request.payload = {bytes};
    connection_->send(std::move(request), [&](Result<Reply> reply) {
      if (!reply && reply.error().code == Code::kCancelled) ++cancelled_seen;
    });
  }
  client_.reset();
  EXPECT_EQ(cancelled_seen, 10);
  auto reply = ask(*connection_, request_of(test::kCount));  // the handle outlives its messenger
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kCancelled);
}

TEST_F(DataTest, TheEndOfAConnectionCancelsWhatIsUnderWay) {
  start();
  std::atomic<int> cancelled_seen{0};
  for (int i = 0; i < 10; ++i) {
    connection_->send(request_of(test::kSilence), [&](Result<Reply> reply) {
      if (!reply && reply.error().code == Code::kCancelled) ++cancelled_seen;
    });
  }
  connection_.reset();
  EXPECT_EQ(cancelled_seen, 10);
}

TEST_F(DataTest, AConnectionMayEndInsideItsOwnCompletion) {
  start();
  std::promise<void> ended;
  connection_->send(request_of(test::kCount), [&](Result<Reply>) {
    connection_.reset();
    ended.set_value();
  });
  ended.get_future().wait();
}

TEST_F(DataTest, RespondersMayOutliveTheServer) {
  start();
  connection_->send(request_of(test::kSilence), [](Result<Reply>) {});
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(kept_->mutex);
    return !kept_->responders.empty();
  }));
  server_.reset();
  kept_->responders[0](OutgoingReply{});
}

// --- Who may connect

Error refusal_of(Messenger& client, uint16_t port, PeerIdentity identity) {
  auto made = client.connect({"127.0.0.1", port}, std::move(identity), Deadline::after(kLong));
  EXPECT_FALSE(made);
  return made ? internal_error("accepted") : made.error();
}

TEST_F(DataTest, AnotherProtocolVersionIsRefusedNamingBoth) {
  start();
  auto identity = identity_of();
  identity.protocol_version = 9;
  const Error error = refusal_of(*client_, server_->port(), identity);
  EXPECT_EQ(error.code, Code::kUnsupported);
  EXPECT_NE(error.message.find("version 2"), std::string::npos) << error.text();
  EXPECT_NE(error.message.find("speaks 9"), std::string::npos) << error.text();
}

TEST_F(DataTest, AWrongClusterTokenIsRefusedWithoutPrintingIt) {
  start();
  auto identity = identity_of();
  identity.cluster_token = "sesame";
  const Error error = refusal_of(*client_, server_->port(), identity);
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_NE(error.message.find("cluster_token"), std::string::npos) << error.text();
  EXPECT_EQ(error.message.find("sesame"), std::string::npos);
  EXPECT_TRUE(ask(*connection_, request_of(test::kCount)));
}

TEST_F(DataTest, TheHandlersRefusalReachesThePeer) {
  auto handlers = test::handlers(kept_);
  handlers.on_hello = [](uint64_t, const PeerIdentity& peer) -> Result<void> {
    if (peer.node == "tester") return {};
    return unsupported("layout 3 is not ours");
  };
  start(handlers);
  const Error error = refusal_of(*client_, server_->port(), identity_of("other"));
  EXPECT_EQ(error.text(), "unsupported: layout 3 is not ours");
}

TEST_F(DataTest, ConnectingToNobodyEndsAtTheDeadline) {
  auto client = start_messenger();
  auto made = client->connect({"127.0.0.1", 1}, identity_of(), Deadline::after(Millis(200)));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable) << made.error().text();
  EXPECT_NE(made.error().message.find("127.0.0.1:1"), std::string::npos);
}

TEST_F(DataTest, APortInUseIsAnErrorThatNamesIt) {
  start();
  auto second = start_messenger();
  auto listening = second->listen({"127.0.0.1", server_->port()}, test::handlers(kept_));
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().code, Code::kUnavailable);
  EXPECT_EQ(listening.error().message,
            "address already in use: 127.0.0.1:" + std::to_string(server_->port()));
}

TEST_F(DataTest, AConnectionMadeBeforeTheServerIsThereWaitsForIt) {
  uint16_t port = 0;
  {
    auto finder = start_messenger();
    ASSERT_TRUE(finder->listen({"127.0.0.1", 0}, test::handlers(kept_)));
    port = finder->port();
  }
  auto client = start_messenger();
  std::thread late([&] {
    server_ = start_messenger();
    EXPECT_TRUE(server_->listen({"127.0.0.1", port}, test::handlers(kept_)));
  });
  auto made = client->connect({"127.0.0.1", port}, identity_of(), Deadline::after(kLong));
  late.join();
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_TRUE(ask(**made, request_of(test::kCount)));
}

/// A plain TCP connection to `port`.
int plain_connection(uint16_t port) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
    return descriptor;
  close(descriptor);
  return -1;
}

TEST_F(DataTest, GarbageOnItsPortDoesNotDisturbTheServer) {
  start();
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    const int descriptor = plain_connection(server_->port());
    ASSERT_GE(descriptor, 0);
    std::vector<char> bytes(random() % 3000);
    for (char& b : bytes) b = static_cast<char>(random());
    [[maybe_unused]] const auto sent = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    close(descriptor);
  }
  EXPECT_TRUE(ask(*connection_, request_of(test::kCount)));
}

}  // namespace
}  // namespace ebb::data
