// Peers that speak UCX but not our protocol, or speak it wrongly: bare endpoints against a real
// server, and bytes against the decoders.
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <random>

#include "tests/transport/data_test_service.h"
#include "transport/data/event_loop.h"
#include "transport/data/messenger.h"
#include "transport/data/ucx_endpoint.h"
#include "transport/data/ucx_worker.h"
#include "transport/data/wire.h"

namespace ebb::data {
namespace {

PeerIdentity good_identity() {
  PeerIdentity identity;
  identity.cluster_token = "token";
  identity.node = "stranger";
  identity.epoch = Epoch{3};
  return identity;
}

/// A client without our client: sends any bytes, and remembers what came first.
class Stranger final : public EndpointOwner {
 public:
  explicit Stranger(uint16_t port) : loop_("stranger") {
    const auto address = resolve({"127.0.0.1", port});
    on_loop([&] {
      worker_ = std::move(*UcxWorker::open(loop_, Reach::kThisHost));
      endpoint_ = std::move(*worker_->connect(*address, this));
    });
  }
  ~Stranger() override {
    std::promise<void> closed;
    loop_.post([&] { endpoint_->close([&] { closed.set_value(); }); });
    closed.get_future().wait();
    on_loop([&] {
      endpoint_.reset();
      worker_.reset();
    });
  }

  void send(const wire::FrameBytes& frame, std::vector<std::byte> header, uint64_t payload = 0) {
    auto bytes = std::make_shared<std::vector<std::byte>>(payload);
    on_loop([&] {
      UcxEndpoint::Body body;
      body.header = std::move(header);
      if (payload > 0) body.payload = {*bytes};
      body.keep_alive = bytes;
      endpoint_->send_raw(frame, std::move(body), [](bool) {});
    });
  }
  void send_hello() {
    const auto header = wire::encode_identity(good_identity());
    wire::Frame frame;
    frame.kind = wire::Kind::kHello;
    frame.header_bytes = static_cast<uint32_t>(header.size());
    send(wire::encode(frame), header);
  }
  /// The next frame from the server; nothing when the connection was lost or nothing came.
  std::optional<wire::Frame> receive() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return lost_ || !frames_.empty(); });
    if (frames_.empty()) return std::nullopt;
    const wire::Frame first = frames_.front();
    frames_.erase(frames_.begin());
    return first;
  }

  void on_message(Incoming& message) override {
    const auto frame = wire::decode(message.frame());
    std::lock_guard lock(mutex_);
    if (frame) frames_.push_back(*frame);
    changed_.notify_all();
  }
  void on_broken(const std::string&) override {
    std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  }

 private:
  template <class Body>
  void on_loop(Body body) {
    std::promise<void> done;
    loop_.post([&] {
      body();
      done.set_value();
    });
    done.get_future().wait();
  }
  EventLoop loop_;
  std::unique_ptr<UcxWorker> worker_;
  std::shared_ptr<UcxEndpoint> endpoint_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<wire::Frame> frames_;
  bool lost_ = false;
};

class HostileTest : public testing::Test {
 protected:
  void SetUp() override {
    MessengerOptions options;
    options.name = "data";
    options.cluster_token = "token";
    options.handshake_deadline = Millis(1000);
    auto made = Messenger::start(options);
    ASSERT_TRUE(made);
    server_ = std::move(*made);
    ASSERT_TRUE(server_->listen({"127.0.0.1", 0}, test::handlers(kept_)));
  }
  /// The server still serves.
  void TearDown() override {
    Stranger friendly(server_->port());
    friendly.send_hello();
    const auto answer = friendly.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, wire::Kind::kWelcome);
  }
  /// What the server says to a stranger that has been welcomed and then sends `frame`.
  std::optional<wire::Frame> answer_to(const wire::FrameBytes& frame,
                                       std::vector<std::byte> header = {}, uint64_t payload = 0) {
    Stranger stranger(server_->port());
    stranger.send_hello();
    EXPECT_EQ(stranger.receive()->kind, wire::Kind::kWelcome);
    stranger.send(frame, std::move(header), payload);
    return stranger.receive();
  }
  void expect_refused(const std::optional<wire::Frame>& answer, Code code = Code::kInvalid) {
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, wire::Kind::kError);
    EXPECT_EQ(answer->request, 0u);
    EXPECT_EQ(answer->code, code);
  }
  wire::Frame request() {
    wire::Frame frame;
    frame.kind = wire::Kind::kRequest;
    frame.request = 1;
    frame.operation = test::kCount;
    frame.epoch = good_identity().epoch;
    return frame;
  }

  std::shared_ptr<test::Kept> kept_ = std::make_shared<test::Kept>();
  std::unique_ptr<Messenger> server_;
};

TEST_F(HostileTest, AGoodRequestIsAnswered) {
  auto frame = request();
  const auto answer = answer_to(wire::encode(frame));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->kind, wire::Kind::kReply);
  EXPECT_EQ(answer->request, 1u);
}

TEST_F(HostileTest, WrongMagicIsRefused) {
  auto bytes = wire::encode(request());
  bytes[0] = std::byte{0};
  expect_refused(answer_to(bytes));
}

TEST_F(HostileTest, AnotherVersionIsRefusedAsUnsupported) {
  auto frame = request();
  frame.version = 77;
  expect_refused(answer_to(wire::encode(frame)), Code::kUnsupported);
}

TEST_F(HostileTest, UnknownAndMisplacedKindsAreRefused) {
  for (uint8_t kind : {uint8_t{0}, uint8_t{1}, uint8_t{2}, uint8_t{4}, uint8_t{5}, uint8_t{7},
                       uint8_t{8}, uint8_t{9}, uint8_t{200}}) {
    auto frame = request();
    frame.kind = static_cast<wire::Kind>(kind);
    expect_refused(answer_to(wire::encode(frame)));
  }
}

TEST_F(HostileTest, AnotherEpochThanTheHellosIsRefused) {
  auto frame = request();
  frame.epoch = Epoch{4};
  expect_refused(answer_to(wire::encode(frame)));
}

TEST_F(HostileTest, SizesThatAreNotThoseOfTheMessageAreRefused) {
  for (uint64_t payload : {0ull, 10ull, 1ull << 20}) {
    auto frame = request();
    frame.payload_bytes = payload + 1;
    expect_refused(answer_to(wire::encode(frame), {}, payload));
  }
}

TEST_F(HostileTest, SizesOverTheLimitsAreRefusedWithoutMemory) {
  auto frame = request();
  frame.payload_bytes = kPayloadMax + 1;
  expect_refused(answer_to(wire::encode(frame)));
  frame.payload_bytes = ~0ull;  // with the header's size this would run over
  frame.header_bytes = 1;
  expect_refused(answer_to(wire::encode(frame)));
  frame = request();
  frame.apart_bytes = kPayloadMax + 1;
  expect_refused(answer_to(wire::encode(frame)));
  frame = request();
  frame.header_bytes = kHeaderMax + 1;
  expect_refused(answer_to(wire::encode(frame), std::vector<std::byte>(kHeaderMax + 1)));
}

TEST_F(HostileTest, AFirstMessageThatIsNoHelloIsRefused) {
  Stranger stranger(server_->port());
  stranger.send(wire::encode(request()), {});
  expect_refused(stranger.receive());
}

TEST_F(HostileTest, BrokenHellosAreRefused) {
  const auto good = wire::encode_identity(good_identity());
  for (size_t size = 0; size < good.size(); size += 7) {
    Stranger stranger(server_->port());
    wire::Frame frame;
    frame.kind = wire::Kind::kHello;
    frame.header_bytes = static_cast<uint32_t>(size);
    stranger.send(wire::encode(frame), {good.begin(), good.begin() + static_cast<ptrdiff_t>(size)});
    expect_refused(stranger.receive());
  }
}

TEST_F(HostileTest, AHelloWithAPayloadIsRefused) {
  Stranger stranger(server_->port());
  wire::Frame frame;
  frame.kind = wire::Kind::kHello;
  frame.payload_bytes = 1 << 20;
  stranger.send(wire::encode(frame), {}, 1 << 20);
  expect_refused(stranger.receive());
}

TEST_F(HostileTest, WhoeverSaysNothingIsDroppedAtTheHandshakeDeadline) {
  Stranger silent(server_->port());
  EXPECT_FALSE(silent.receive());
}

TEST(DataWireTest, RandomBytesNeverPassForTooLargeFrames) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200000; ++round) {
    wire::FrameBytes bytes = wire::encode(wire::Frame{});
    for (size_t at = 4 + random() % 4; at < bytes.size(); at += 1 + random() % 9) {
      bytes[at] = static_cast<std::byte>(random());
    }
    const auto frame = wire::decode(std::span(bytes).first(random() % (bytes.size() + 1)));
    if (!frame) continue;
    EXPECT_LE(frame->header_bytes, kHeaderMax);
    EXPECT_LE(frame->payload_bytes, kPayloadMax);
    EXPECT_LE(frame->apart_bytes, kPayloadMax);
    EXPECT_LE(frame->kind, wire::Kind::kPayload);
  }
}

TEST(DataWireTest, FramesOfEveryKindComeBackAsTheyWere) {
  for (uint8_t kind = 1; kind <= static_cast<uint8_t>(wire::Kind::kPayload); ++kind) {
    wire::Frame frame;
    frame.kind = static_cast<wire::Kind>(kind);
    frame.operation = 3;
    frame.header_bytes = kHeaderMax;
    frame.request = 1ull << 40;
    frame.epoch = Epoch{9};
    frame.payload_bytes = kPayloadMax - 1;
    frame.apart_bytes = kPayloadMax;
    const auto back = wire::decode(wire::encode(frame));
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_EQ(back->kind, frame.kind);
    EXPECT_EQ(back->operation, frame.operation);
    EXPECT_EQ(back->header_bytes, frame.header_bytes);
    EXPECT_EQ(back->request, frame.request);
    EXPECT_EQ(back->epoch, frame.epoch);
    EXPECT_EQ(back->payload_bytes, frame.payload_bytes);
    EXPECT_EQ(back->apart_bytes, frame.apart_bytes);
    frame.apart_bytes = kPayloadMax + 1;
    EXPECT_FALSE(wire::decode(wire::encode(frame)));
  }
}

TEST(DataWireTest, IdentitiesComeBackAsTheyWereAndCutOnesAreErrors) {
  PeerIdentity identity = good_identity();
  identity.hello.resize(wire::kHelloMax, std::byte{9});
  const auto bytes = wire::encode_identity(identity);
  const auto back = wire::decode_identity(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->cluster_token, identity.cluster_token);
  EXPECT_EQ(back->node, identity.node);
  EXPECT_EQ(back->epoch, identity.epoch);
  EXPECT_EQ(back->hello, identity.hello);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(wire::decode_identity(std::span(bytes).first(size)));
  }
  std::mt19937_64 random(12);
  for (int round = 0; round < 20000; ++round) {
    auto changed = bytes;
    for (int i = 0; i < 4; ++i) changed[random() % 64] = static_cast<std::byte>(random());
    const auto decoded = wire::decode_identity(changed);
    if (decoded) {
      EXPECT_LE(decoded->hello.size(), wire::kHelloMax);
    }
  }
}

}  // namespace
}  // namespace ebb::data
