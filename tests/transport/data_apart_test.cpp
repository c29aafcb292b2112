// Replies whose payload goes to memory of a device, and so comes by itself: over real UCX, with the
// host's memory in the device's place. Either half first, halves that never come, and servers that
// get them wrong.
#include <gmock/gmock.h>

#include "tests/transport/data_fixture.h"
#include "transport/data/event_loop.h"
#include "transport/data/ucx_context.h"
#include "transport/data/ucx_endpoint.h"
#include "transport/data/ucx_worker.h"

namespace ebb::data {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Messenger> device_messenger() {
  return start_messenger(512ull << 20, Millis(500), DeviceMemory::kAsHost);
}

Connection::Request device_request(uint16_t operation, std::span<std::byte> destination,
                                   Millis deadline = kLong) {
  auto request = request_of(operation, deadline);
  request.destination = destination;
  request.destination_memory = Memory::kDevice;
  return request;
}

class ApartTest : public DataTest {
 protected:
  void start() {
    DataTest::start();
    connection_.reset();
    client_ = device_messenger();
    auto made =
        client_->connect({"127.0.0.1", server_->port()}, identity_of(), Deadline::after(kLong));
    ASSERT_TRUE(made) << made.error().text();
    connection_ = *made;
  }
};

TEST_F(ApartTest, PayloadsOfAllSizesComeBackWholeWithTheirHeads) {
  start();
  ASSERT_TRUE(client_->takes_device_memory());
  for (const uint32_t header : {0u, 8u, kHeaderMax}) {
    for (const uint64_t size :
         {0ull, 1ull, 8ull << 10, (48ull << 10) + 1, 1ull << 20, 64ull << 20}) {
      if (size > 1 << 20 && header != 8) continue;  // one is enough of that size
      const auto sent = test::pattern_bytes(size);
      std::vector<std::byte> received(size + 3, std::byte{0xee});
      auto request = device_request(test::kEcho, received);
      request.header = test::pattern_bytes(header);
      request.payload = {sent};
      const auto reply = ask(*connection_, std::move(request));
      ASSERT_TRUE(reply) << reply.error().text();
      EXPECT_EQ(reply->payload_bytes, size);
      EXPECT_EQ(reply->header, test::pattern_bytes(header));
      EXPECT_TRUE(std::equal(sent.begin(), sent.end(), received.begin()));
      EXPECT_TRUE(is_filled(std::span(received).subspan(size), std::byte{0xee}));
    }
  }
}

TEST_F(ApartTest, RequestsOfBothKindsOfMemoryDoNotDisturbEachOther) {
  start();
  constexpr int kRequests = 120;
  std::mutex mutex;
  std::condition_variable changed;
  int left = kRequests, whole = 0;
  std::vector<std::vector<std::byte>> sent(kRequests), received(kRequests);
  std::mt19937 random(3);
  for (int i = 0; i < kRequests; ++i) {
    sent[i] = test::pattern_bytes(1 + random() % (i % 3 == 0 ? 400000 : 3000));
    sent[i].push_back(static_cast<std::byte>(i));
    received[i].resize(sent[i].size());
    auto request = device_request(test::kEcho, received[i]);
    if (i % 2 == 0) request.destination_memory = Memory::kHost;
    request.payload = {sent[i]};
    connection_->send(std::move(request), [&, i](Result<Reply> reply) {
      std::lock_guard lock(mutex);
      if (reply && received[i] == sent[i]) ++whole;
      if (--left == 0) changed.notify_all();
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return left == 0; });
  EXPECT_EQ(whole, kRequests);
}

TEST_F(ApartTest, AReplyThatDoesNotFitIsAnErrorAndTouchesNothing) {
  start();
  for (const uint64_t size : {100ull, 1ull << 20}) {
    std::vector<std::byte> memory(size + 64, std::byte{0xee});
    auto request = device_request(test::kProduce, std::span(memory).first(size - 1));
    request.header = test::u64_bytes({size});
    const auto reply = ask(*connection_, std::move(request));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kInvalid);
    EXPECT_THAT(reply.error().message, HasSubstr(std::to_string(size)));
    EXPECT_TRUE(is_filled(memory, std::byte{0xee}));
  }
  auto request = device_request(test::kProduce, {});
  request.header = test::u64_bytes({1});
  const auto reply = ask(*connection_, std::move(request));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kInvalid);
  EXPECT_TRUE(connection_->connected());
}

TEST_F(ApartTest, TheServersErrorsAreOneMessage) {
  start();
  std::vector<std::byte> memory(100);
  const auto reply = ask(*connection_, device_request(test::kRefuse, memory));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().text(), "not_found: operation 5");
}

TEST_F(ApartTest, WhoeverTakesNoDeviceMemoryRefusesIt) {
  DataTest::start();
  ASSERT_FALSE(client_->takes_device_memory());
  std::vector<std::byte> memory(100);
  const auto reply = ask(*connection_, device_request(test::kCount, memory));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kUnsupported);
}

TEST(DeviceMemoryTest, IsTakenWhereADeviceIsAttachedAndUcxReachesIt) {
  const auto found = find_ucx();
  ASSERT_TRUE(found) << found.error().text();
  std::atomic<int> attached{0};
  std::thread::id where;
  MessengerOptions options;
  options.name = "data";
  options.attach_device = [&]() -> Result<void> {
    ++attached;
    where = std::this_thread::get_id();
    return {};
  };
  auto made = Messenger::start(options);
  ASSERT_TRUE(made);
  EXPECT_EQ(attached, 1) << "before anything of UCX is opened";
  EXPECT_NE(where, std::this_thread::get_id());
  EXPECT_EQ((*made)->takes_device_memory(), found->memory.cuda());
  options.attach_device = []() -> Result<void> { return internal_error("no such device"); };
  made = Messenger::start(options);
  ASSERT_TRUE(made) << "records then land in the host's memory";
  EXPECT_FALSE((*made)->takes_device_memory());
}

// --- Servers that are not ours

/// Greets like a server; what it answers is the test's.
class RawServer final : public EndpointOwner {
 public:
  using Script = std::function<void(RawServer&, uint64_t request)>;
  explicit RawServer(Script script) : script_(std::move(script)), loop_("raw server") {
    const auto address = resolve({"127.0.0.1", 0});
    on_loop([&] {
      worker_ = std::move(*UcxWorker::open(loop_, Reach::kThisHost));
      port_ = *worker_->listen(*address, [this](std::shared_ptr<UcxEndpoint> endpoint) {
        endpoint->set_owner(this);
        endpoints_.push_back(std::move(endpoint));
      });
    });
  }
  ~RawServer() override {
    on_loop([&] { worker_->stop_listening(); });
    close();
    on_loop([&] { worker_.reset(); });
  }
  uint16_t port() const { return port_; }
  /// Ends all connections.
  void close() {
    std::promise<void> closed;
    loop_.post([&] { close_next([&] { closed.set_value(); }); });
    closed.get_future().wait();
  }

  /// The rest on the loop's thread: within a script.
  using Done = UcxEndpoint::Done;
  static constexpr auto kIgnore = [](bool) {};
  void head(uint64_t request, uint64_t apart, uint64_t payload = 0) {
    wire::Frame frame = frame_of(wire::Kind::kReply, request);
    frame.apart_bytes = apart;
    send(frame, "head", payload, UcxEndpoint::Way::kBySize, kIgnore);
  }
  void payload(uint64_t request, uint64_t bytes, Done done = kIgnore) {
    send(frame_of(wire::Kind::kPayload, request), "", bytes, UcxEndpoint::Way::kRendezvous,
         std::move(done));
  }
  void send(const wire::Frame& frame, const std::string& header, uint64_t payload,
            UcxEndpoint::Way way, Done done) {
    auto bytes = std::make_shared<std::vector<std::byte>>(test::pattern_bytes(payload));
    UcxEndpoint::Body body;
    for (const char c : header) body.header.push_back(static_cast<std::byte>(c));
    if (payload > 0) body.payload = {*bytes};
    body.keep_alive = bytes;
    body.way = way;
    endpoints_.back()->send(frame, std::move(body), std::move(done));
  }
  static wire::Frame frame_of(wire::Kind kind, uint64_t request) {
    wire::Frame frame;
    frame.kind = kind;
    frame.request = request;
    frame.epoch = identity_of().epoch;
    return frame;
  }
  void post(std::function<void()> task) { loop_.post(std::move(task)); }

  void on_message(Incoming& message) override {
    const auto frame = wire::decode(message.frame());
    ASSERT_TRUE(frame);
    const auto answer = [&](wire::Kind kind) {
      send(frame_of(kind, 0), "", 0, UcxEndpoint::Way::kBySize, kIgnore);
    };
    if (frame->kind == wire::Kind::kHello) answer(wire::Kind::kWelcome);
    if (frame->kind == wire::Kind::kPing) answer(wire::Kind::kPong);
    if (frame->kind == wire::Kind::kRequest) script_(*this, frame->request);
  }
  void on_broken(const std::string&) override {}

 private:
  void close_next(std::function<void()> closed) {
    if (endpoints_.empty()) return closed();
    auto last = std::move(endpoints_.back());
    endpoints_.pop_back();
    auto* raw = last.get();
    raw->close([this, keep = std::move(last), closed] { close_next(closed); });
  }
  template <class Body>
  void on_loop(Body body) {
    std::promise<void> done;
    loop_.post([&] {
      body();
      done.set_value();
    });
    done.get_future().wait();
  }
  const Script script_;
  EventLoop loop_;
  std::unique_ptr<UcxWorker> worker_;
  std::vector<std::shared_ptr<UcxEndpoint>> endpoints_;
  uint16_t port_ = 0;
};

constexpr uint64_t kBytes = 100 << 10;

class RawServerTest : public testing::Test {
 protected:
  void start(RawServer::Script script) {
    server_ = std::make_unique<RawServer>(std::move(script));
    client_ = device_messenger();
    auto made =
        client_->connect({"127.0.0.1", server_->port()}, identity_of(), Deadline::after(kLong));
    ASSERT_TRUE(made) << made.error().text();
    connection_ = *made;
  }
  Result<Reply> ask_once(Memory memory = Memory::kDevice, Millis deadline = kLong) {
    auto request = device_request(1, std::span(memory_).first(kBytes), deadline);
    request.destination_memory = memory;
    return ask(*connection_, std::move(request));
  }
  void expect_whole() {
    const auto reply = ask_once();
    ASSERT_TRUE(reply) << reply.error().text();
    EXPECT_EQ(reply->payload_bytes, kBytes);
    EXPECT_EQ(reply->header.size(), 4u);
    EXPECT_TRUE(
        std::equal(memory_.begin(), memory_.begin() + kBytes, test::pattern_bytes(kBytes).begin()));
  }
  /// The connection is ended with those words, and works again.
  void expect_ended(RawServer::Script script, const std::string& words,
                    Memory memory = Memory::kDevice) {
    connection_.reset();
    client_.reset();
    start(std::move(script));
    const auto reply = ask_once(memory);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kUnavailable);
    EXPECT_THAT(reply.error().message, HasSubstr(words));
    EXPECT_TRUE(is_filled(std::span(memory_).subspan(kBytes), std::byte{0xee}));
    EXPECT_TRUE(eventually([&] { return connection_->connected(); }));
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(2 * kBytes, std::byte{0xee});
  std::unique_ptr<RawServer> server_;
  std::unique_ptr<Messenger> client_;
  std::shared_ptr<Connection> connection_;
};

TEST_F(RawServerTest, EitherHalfMayComeFirst) {
  start([](RawServer& server, uint64_t request) {
    if (request % 3 == 0) {  // the payload is there, to its last byte, before the head sets out
      return server.payload(request, kBytes,
                            [&server, request](bool) { server.head(request, kBytes); });
    }
    if (request % 3 == 1) server.head(request, kBytes);
    server.payload(request, kBytes);
    if (request % 3 == 2) server.head(request, kBytes);
  });
  for (int i = 0; i < 6; ++i) {
    std::fill(memory_.begin(), memory_.end(), std::byte{0xee});
    expect_whole();
  }
}

TEST_F(RawServerTest, AHalfThatNeverComesIsATimeoutAndTheMemoryIsOursAgain) {
  start([](RawServer& server, uint64_t request) {
    if (request == 1) return server.head(request, kBytes);
    if (request == 2) return server.payload(request, kBytes);
    if (request == 3) {  // what was missing comes late, and with it this request's answer
      server.payload(1, kBytes);
      server.head(2, kBytes);
    }
    server.head(request, kBytes);
    server.payload(request, kBytes);
  });
  for (int i = 0; i < 2; ++i) {
    const auto reply = ask_once(Memory::kDevice, Millis(200));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kTimeout);
  }
  std::fill(memory_.begin(), memory_.end(), std::byte{0xaa});
  std::vector<std::byte> other(kBytes);
  ASSERT_TRUE(ask(*connection_, device_request(1, other)));
  EXPECT_TRUE(is_filled(memory_, std::byte{0xaa}));
  EXPECT_TRUE(connection_->connected());
}

TEST_F(RawServerTest, AConnectionThatIsLostBetweenTheHalvesIsUnavailable) {
  for (const bool head_first : {true, false}) {
    connection_.reset();
    client_.reset();
    std::promise<void> sent;
    start([&](RawServer& server, uint64_t request) {
      if (!head_first) {
        return server.payload(request, kBytes, [&](bool) { sent.set_value(); });
      }
      server.head(request, kBytes);
      sent.set_value();
    });
    std::promise<Result<Reply>> answer;
    connection_->send(device_request(1, std::span(memory_).first(kBytes)),
                      [&](Result<Reply> reply) { answer.set_value(std::move(reply)); });
    sent.get_future().wait();
    server_->close();
    const auto reply = answer.get_future().get();
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kUnavailable) << reply.error().text();
  }
}

TEST_F(RawServerTest, TheEndOfAConnectionCancelsWhatIsHalfThere) {
  for (const bool head_first : {true, false}) {
    connection_.reset();
    client_.reset();
    std::promise<void> sent;
    start([&](RawServer& server, uint64_t request) {
      if (head_first) server.head(request, kBytes);
      if (!head_first) server.payload(request, kBytes);
      sent.set_value();
    });
    std::promise<Result<Reply>> answer;
    connection_->send(device_request(1, std::span(memory_).first(kBytes)),
                      [&](Result<Reply> reply) { answer.set_value(std::move(reply)); });
    sent.get_future().wait();
    connection_.reset();
    const auto reply = answer.get_future().get();
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kCancelled);
    std::fill(memory_.begin(), memory_.end(), std::byte{0xaa});  // nobody writes there any more
  }
}

TEST_F(RawServerTest, APayloadThatDoesNotFitEndsItsRequestOnly) {
  for (const bool head_first : {true, false}) {
    connection_.reset();
    client_.reset();
    start([&](RawServer& server, uint64_t request) {
      const uint64_t bytes = kBytes + (request == 1 ? 1 : 0);
      if (head_first) server.head(request, bytes);
      server.payload(request, bytes);
      if (!head_first) server.head(request, bytes);
    });
    const auto reply = ask_once();
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Code::kInvalid);
    EXPECT_THAT(reply.error().message, HasSubstr("do not fit the destination's"));
    EXPECT_TRUE(is_filled(std::span(memory_).subspan(kBytes), std::byte{0xee}));
    expect_whole();
  }
}

TEST_F(RawServerTest, WhatNoServerSendsEndsTheConnection) {
  expect_ended(
      [](RawServer& server, uint64_t request) {
        server.payload(request, kBytes);
        server.payload(request, kBytes);
      },
      "two payloads");
  expect_ended(
      [](RawServer& server, uint64_t request) {
        server.head(request, kBytes);
        server.head(request, kBytes);
      },
      "two replies");
  expect_ended([](RawServer& server, uint64_t request) { server.payload(request + 1, kBytes); },
               "payload of no request");
  expect_ended([](RawServer& server, uint64_t) { server.payload(~0ull, kBytes); },
               "payload of no request");
  expect_ended(
      [](RawServer& server, uint64_t request) {
        server.head(request, kBytes);
        server.payload(request, kBytes - 1);
      },
      "not of one size");
  expect_ended(
      [](RawServer& server, uint64_t request) {
        server.payload(request, kBytes);
        server.head(request, 0);
      },
      "not of one size");
}

TEST_F(RawServerTest, APayloadInAnotherFormThanWasAskedForEndsTheConnection) {
  expect_ended([](RawServer& server, uint64_t request) { server.head(request, 0, 100); },
               "as it was asked for");
  expect_ended([](RawServer& server, uint64_t request) { server.head(request, 100); },
               "as it was asked for", Memory::kHost);
  expect_ended([](RawServer& server, uint64_t request) { server.payload(request, 100); },
               "was not asked for", Memory::kHost);
  const auto payload = [](uint64_t bytes, const std::string& header, UcxEndpoint::Way way) {
    return [=](RawServer& server, uint64_t request) {
      server.send(RawServer::frame_of(wire::Kind::kPayload, request), header, bytes, way,
                  RawServer::kIgnore);
    };
  };
  const auto kNone = "that no server of this version sends";
  expect_ended(payload(100, "", UcxEndpoint::Way::kBySize), kNone);
  expect_ended(payload(100, "header", UcxEndpoint::Way::kRendezvous), kNone);
  expect_ended(payload(0, "", UcxEndpoint::Way::kBySize), kNone);
}

}  // namespace
}  // namespace ebb::data
