// The control protocol over real sockets: every field arrives, refusals, lost and silent peers,
// garbage.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <random>

#include "base/wait.h"
#include "tests/support/tree_paths.h"
#include "tests/transport/child_process.h"
#include "tests/transport/control_fixture.h"
#include "transport/control/store_side.h"

namespace ebb::control::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Deadline soon() { return Deadline::after(kPatience); }

/// Runs `call`, which waits, while the test plays the other side.
template <class Call>
auto meanwhile(Call call) {
  return std::async(std::launch::async, std::move(call));
}

struct Pair {
  Coordinator coordinator;
  Worker worker;
  std::shared_ptr<WorkerLink> link;
  Pair() {
    EXPECT_TRUE(worker.join(coordinator.address()));
    link = coordinator.joined.take().value();
  }
};

TEST(Control, TellsTheCoordinatorWhoJoinedButKeepsNoToken) {
  Pair pair;
  WorkerHello expected = sample_hello();
  expected.cluster_token.clear();
  EXPECT_EQ(pair.link->hello(), expected);
}

TEST(Control, CarriesEveryFieldOfAForm) {
  Pair pair;
  auto reply = meanwhile([&] {
    return wait_for<FormReply>([&](auto done) { pair.link->form(sample_form(), soon(), done); });
  });
  auto asked = pair.worker.forms.take().value();
  EXPECT_EQ(asked.first, sample_form());
  asked.second(sample_form_reply());
  EXPECT_EQ(reply.get().value(), sample_form_reply());
}

class EveryUnit : public ::testing::TestWithParam<UnitKind> {};
TEST_P(EveryUnit, CarriesEveryFieldOfTheUnitAndItsResult) {
  Pair pair;
  const Unit unit = sample_unit(GetParam());
  auto reply = meanwhile(
      [&] { return wait_for<UnitResult>([&](auto done) { pair.link->run(unit, soon(), done); }); });
  auto asked = pair.worker.units.take().value();
  EXPECT_EQ(asked.first, unit);
  asked.second(sample_result());
  EXPECT_EQ(reply.get().value(), sample_result());
}
INSTANTIATE_TEST_SUITE_P(Control, EveryUnit,
                         ::testing::Values(UnitKind::kOpen, UnitKind::kBulk, UnitKind::kRelease,
                                           UnitKind::kDecode, UnitKind::kClose));

TEST(Control, CarriesEveryFieldOfAMap) {
  Pair pair;
  auto reply = meanwhile([&] {
    return wait_for<SequenceMap>([&](auto done) { pair.link->describe({9}, soon(), done); });
  });
  auto asked = pair.worker.described.take().value();
  EXPECT_EQ(asked.first, SeqId{9});
  asked.second(sample_map());
  EXPECT_EQ(reply.get().value(), sample_map());
}

TEST(Control, CarriesAWorkersOwnErrorWithItsCode) {
  Pair pair;
  auto reply = meanwhile([&] {
    return wait_for<SequenceMap>([&](auto done) { pair.link->describe({9}, soon(), done); });
  });
  pair.worker.described.take().value().second(not_found("no sequence 9"));
  const auto error = reply.get().error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_EQ(error.message, "no sequence 9");
}

TEST(Control, CarriesADisband) {
  Pair pair;
  pair.link->disband({7}, "rank 0 is gone");
  const auto told = pair.worker.disbanded.take().value();
  EXPECT_EQ(told.first, Epoch{7});
  EXPECT_EQ(told.second, "rank 0 is gone");
}

TEST(Control, CarriesAPromptOfAMillionTokens) {
  Pair pair;
  Unit unit = sample_unit(UnitKind::kOpen);
  unit.open.prompt.resize(1'000'000);
  for (size_t i = 0; i < unit.open.prompt.size(); ++i) {
    unit.open.prompt[i] = static_cast<TokenId>(i * 7919 % 49152);
  }
  auto reply = meanwhile(
      [&] { return wait_for<UnitResult>([&](auto done) { pair.link->run(unit, soon(), done); }); });
  auto asked = pair.worker.units.take().value();
  EXPECT_TRUE(asked.first.open.prompt == unit.open.prompt);
  asked.second(UnitResult{});
  EXPECT_TRUE(reply.get());
}

TEST(Control, RefusesAWrongTokenWithoutShowingEither) {
  Coordinator coordinator;
  Worker worker;
  WorkerHello hello = sample_hello();
  hello.cluster_token = "b secret";
  const auto refused = worker.join(coordinator.address(), hello);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("cluster_token"));
  EXPECT_THAT(refused.error().message, Not(HasSubstr("secret")));
  EXPECT_FALSE(coordinator.joined.take(Millis(0)));
}

TEST(Control, RefusesAnotherProtocolVersionAndNamesBoth) {
  Coordinator coordinator;
  Worker worker;
  WorkerHello hello = sample_hello();
  hello.protocol_version = 712;
  const auto refused = worker.join(coordinator.address(), hello);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("protocol_version"));
  EXPECT_THAT(refused.error().message, HasSubstr("712"));
  EXPECT_THAT(refused.error().message, HasSubstr(std::to_string(kProtocolVersion)));
}

TEST(Control, GivesTheWorkerTheCoordinatorsRefusal) {
  Coordinator coordinator;
  coordinator.refusal = invalid("rank: 1 is out of range [0, 1)");
  Worker worker;
  const auto refused = worker.join(coordinator.address());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "rank: 1 is out of range [0, 1)");
}

TEST(Control, NamesAnAddressInUse) {
  Coordinator first;
  CoordinatorHandlers handlers;
  const auto second = ControlServer::listen(first.address(), "a secret", Millis(1000), handlers);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr("already in use"));
  EXPECT_THAT(second.error().message, HasSubstr(first.address().text()));
}

TEST(Control, SaysWhenNobodyListens) {
  HostPort nobody;
  {
    const Coordinator gone;
    nobody = gone.address();
  }
  Worker worker;
  const auto refused = worker.join(nobody);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr(nobody.text()));
}

/// A plain socket: what a peer that does not speak the protocol does.
class RawSocket {
 public:
  RawSocket() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {}
  ~RawSocket() { ::close(fd_); }
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  uint16_t listen() {
    sockaddr_in at = loopback(0);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(::listen(fd_, 4), 0);
    socklen_t length = sizeof at;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &length);
    return ntohs(at.sin_port);
  }
  bool connect(uint16_t port) {
    sockaddr_in to = loopback(port);
    return ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  void say(const std::string& bytes) {
    [[maybe_unused]] const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  /// True when the peer has closed within `patience`.
  bool closed_within(Millis patience) {
    const Deadline by = Deadline::after(patience);
    while (!by.passed()) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, static_cast<int>(by.left().count())) <= 0) return false;
      char bytes[256];
      if (::recv(fd_, bytes, sizeof bytes, 0) <= 0) return true;
    }
    return false;
  }

 private:
  static sockaddr_in loopback(uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }
  int fd_;
};

TEST(Control, GivesUpAHandshakeThatIsNotAnswered) {
  RawSocket mute;
  const uint16_t port = mute.listen();
  Worker worker;
  const auto refused =
      worker.join({"127.0.0.1", port}, sample_hello(), Deadline::after(Millis(100)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTimeout);
}

TEST(Control, EndsAUnitAtItsDeadline) {
  Pair pair;
  const auto result = wait_for<UnitResult>([&](auto done) {
    pair.link->run(sample_unit(UnitKind::kClose), Deadline::after(Millis(50)), done);
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kTimeout);
  // The late answer finds nobody and harms nobody; the connection goes on.
  pair.worker.units.take().value().second(sample_result());
  auto reply = meanwhile([&] {
    return wait_for<SequenceMap>([&](auto done) { pair.link->describe({9}, soon(), done); });
  });
  pair.worker.described.take().value().second(sample_map());
  EXPECT_TRUE(reply.get());
}

TEST(Control, AnswersTwoRanksWhenBothHavePublished) {
  Coordinator coordinator;
  Worker workers[2];
  for (uint32_t rank = 0; rank < 2; ++rank) {
    ASSERT_TRUE(workers[rank].join(coordinator.address(), sample_hello(rank)));
  }
  auto publish = [&](uint32_t rank) {
    return meanwhile(
        [&, rank] { return workers[rank].link->publish(sample_publish(rank), soon()); });
  };
  auto first = publish(0);
  const auto held = coordinator.published.take().value();
  EXPECT_EQ(held.request, sample_publish(0));
  auto second = publish(1);
  const auto last = coordinator.published.take().value();
  EXPECT_EQ(last.request, sample_publish(1));
  const PublishReply merged{{{{11}, {3, 40, 500}}, {{12}, {9}}}};
  held.answer(merged);
  last.answer(merged);
  EXPECT_EQ(first.get().value(), merged);
  EXPECT_EQ(second.get().value(), merged);
}

TEST(Control, EndsAPublishAtItsDeadlineAndWithTheBoardsError) {
  Pair pair;
  const auto late = pair.worker.link->publish(sample_publish(1), Deadline::after(Millis(50)));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTimeout);
  pair.coordinator.published.take();
  auto refused = meanwhile([&] { return pair.worker.link->publish(sample_publish(1), soon()); });
  pair.coordinator.published.take().value().answer(cancelled("epoch 7 is over"));
  EXPECT_EQ(refused.get().error().code, Code::kCancelled);
}

TEST(Control, RefusesAPublishInAnotherRanksName) {
  Pair pair;
  const auto refused = pair.worker.link->publish(sample_publish(0), soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("rank"));
}

TEST(Control, LetsARankWaitForWhatAnotherPuts) {
  Pair pair;
  auto value = meanwhile([&] { return pair.worker.link->rendezvous_get("7/rank0", soon()); });
  auto wanted = pair.coordinator.wanted.take().value();
  EXPECT_EQ(wanted.key, "7/rank0");
  const std::string bytes("\0\1binary\xff", 9);
  ASSERT_TRUE(pair.worker.link->rendezvous_put("7/rank1", bytes));
  EXPECT_EQ(pair.coordinator.put.take().value(), std::make_pair(std::string("7/rank1"), bytes));
  wanted.answer(bytes);
  EXPECT_EQ(value.get().value(), bytes);
}

TEST(Control, FailsWhatRunsWhenTheWorkerIsKilled) {
  Coordinator coordinator;
  ebb::test::ChildProcess peer(ebb::test::built_path("tests/ebb_control_test_peer"),
                               {"worker", std::to_string(coordinator.server->port()), "a secret"});
  ASSERT_EQ(peer.read_line(soon()), "joined");
  const auto link = coordinator.joined.take().value();
  auto result = meanwhile([&] {
    return wait_for<UnitResult>(
        [&](auto done) { link->run(sample_unit(UnitKind::kBulk), soon(), done); });
  });
  ASSERT_EQ(peer.read_line(soon()), "unit");
  peer.signal(SIGKILL);
  EXPECT_EQ(result.get().error().code, Code::kUnavailable);
  EXPECT_EQ(coordinator.gone.take().value().link, link);
  const auto after = wait_for<UnitResult>(
      [&](auto done) { link->run(sample_unit(UnitKind::kBulk), soon(), done); });
  EXPECT_EQ(after.error().code, Code::kUnavailable);
}

TEST(Control, LosesAWorkerThatStandsStill) {
  Coordinator coordinator(Millis(50));
  ebb::test::ChildProcess peer(ebb::test::built_path("tests/ebb_control_test_peer"),
                               {"worker", std::to_string(coordinator.server->port()), "a secret"});
  ASSERT_EQ(peer.read_line(soon()), "joined");
  peer.signal(SIGSTOP);
  const auto gone = coordinator.gone.take();
  ASSERT_TRUE(gone);
  EXPECT_THAT(gone->why, HasSubstr("5 heartbeats"));
}

TEST(Control, LosesACoordinatorThatStandsStill) {
  ebb::test::ChildProcess peer(ebb::test::built_path("tests/ebb_control_test_peer"),
                               {"coordinator"});
  const auto port = static_cast<uint16_t>(std::atoi(peer.read_line(soon()).c_str()));
  Worker worker;
  ASSERT_TRUE(worker.join({"127.0.0.1", port}));
  peer.signal(SIGSTOP);
  const auto why = worker.disconnected.take();
  ASSERT_TRUE(why);
  EXPECT_THAT(*why, HasSubstr("5 heartbeats"));
  EXPECT_EQ(worker.link->publish(sample_publish(1), soon()).error().code, Code::kUnavailable);
}

TEST(Control, TellsTheWorkerWhenTheCoordinatorCloses) {
  Worker worker;
  std::future<Result<PublishReply>> waiting;
  {
    Coordinator coordinator;
    ASSERT_TRUE(worker.join(coordinator.address()));
    waiting = meanwhile([&] { return worker.link->publish(sample_publish(1), soon()); });
    coordinator.published.take();
  }
  EXPECT_EQ(waiting.get().error().code, Code::kUnavailable);
  EXPECT_TRUE(worker.disconnected.take());
}

TEST(Control, ClosesALinkWhenAsked) {
  Pair pair;
  pair.link->close();
  EXPECT_TRUE(pair.worker.disconnected.take());
  EXPECT_THAT(pair.coordinator.gone.take().value().why, HasSubstr("closed by the coordinator"));
}

TEST(Control, OutlivesGarbageAndStillServes) {
  Coordinator coordinator;
  std::mt19937 random(20240607);
  for (int attempt = 0; attempt < 200; ++attempt) {
    RawSocket socket;
    ASSERT_TRUE(socket.connect(coordinator.server->port()));
    std::string bytes(random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Every other one begins like a message: one segment of a plausible, or an absurd, size.
    if (attempt % 2 == 0) bytes = std::string("\0\0\0\0", 4) + std::string("\x08\0\0\0", 4) + bytes;
    if (attempt % 5 == 0) bytes = std::string("\0\0\0\0\xff\xff\xff\x7f", 8) + bytes;
    socket.say(bytes);
  }
  Worker worker;
  // The last of the garbage may still be counted when we come.
  const Deadline by = soon();
  Result<void> joined = worker.join(coordinator.address());
  while (!joined && !by.passed()) joined = worker.join(coordinator.address());
  EXPECT_TRUE(joined);
  EXPECT_TRUE(coordinator.joined.take());
}

TEST(Control, BoundsItsConnections) {
  Coordinator coordinator;
  std::vector<std::unique_ptr<RawSocket>> idle;
  for (int i = 0; i < 64; ++i) {
    idle.push_back(std::make_unique<RawSocket>());
    ASSERT_TRUE(idle.back()->connect(coordinator.server->port()));
  }
  RawSocket one_more;
  ASSERT_TRUE(one_more.connect(coordinator.server->port()));
  EXPECT_TRUE(one_more.closed_within(Millis(4000)));
  // Who never shakes hands is sent away, and makes room.
  for (auto& socket : idle) EXPECT_TRUE(socket->closed_within(kPatience));
  Worker worker;
  EXPECT_TRUE(worker.join(coordinator.address()));
}

/// A store that says what the samples say.
StoreHandlers sample_store() {
  return {.status = [] { return sample_status(); },
          .list =
              [](const GranuleQuery& query, const Answer<GranulePage>& answer) {
                if (query != GranuleQuery{SeqId{5}, 77, "there"}) return answer(invalid("limit 0"));
                // As a store does: from a thread of its own.
                std::thread([answer] { answer(sample_granules()); }).join();
              }};
}

/// Asks until the link has an answer.
Result<StoreStatus> status_of(StoreLink& link) {
  const Deadline by = soon();
  for (;;) {
    auto status = wait_for<StoreStatus>([&](auto done) { link.status(soon(), done); });
    if (status || by.passed()) return status;
  }
}

TEST(Control, CarriesEveryFieldOfAStoresStatus) {
  auto server = StoreControlServer::listen({"127.0.0.1", 0}, "a secret", sample_store());
  ASSERT_TRUE(server);
  auto link = StoreLink::start({"127.0.0.1", (*server)->port()}, "a secret", Millis(20));
  EXPECT_EQ(status_of(*link).value(), sample_status());
  EXPECT_TRUE(link->connected());
}

TEST(Control, CarriesEveryFieldOfAListOfGranules) {
  auto server = StoreControlServer::listen({"127.0.0.1", 0}, "a secret", sample_store());
  ASSERT_TRUE(server);
  auto link = StoreLink::start({"127.0.0.1", (*server)->port()}, "a secret", Millis(20));
  ASSERT_TRUE(status_of(*link));
  const auto list = [&](const GranuleQuery& query) {
    return wait_for<GranulePage>([&](auto done) { link->list(query, soon(), done); });
  };
  EXPECT_EQ(list({SeqId{5}, 77, "there"}).value(), sample_granules());
  const auto refused = list({std::nullopt, 77, "there"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, "limit 0");
  server->reset();
  const auto gone = list({SeqId{5}, 77, "there"});
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::kUnavailable) << gone.error().text();
}

TEST(Control, FindsAStoreAgainThatWasRestarted) {
  auto server = StoreControlServer::listen({"127.0.0.1", 0}, "a secret", sample_store());
  ASSERT_TRUE(server);
  const HostPort address{"127.0.0.1", (*server)->port()};
  auto link = StoreLink::start(address, "a secret", Millis(20));
  ASSERT_TRUE(status_of(*link));
  server->reset();
  const Deadline lost_by = soon();
  while (link->connected() && !lost_by.passed()) std::this_thread::yield();
  EXPECT_FALSE(link->connected());
  EXPECT_NE(link->problem(), "");
  server = StoreControlServer::listen(address, "a secret", sample_store());
  ASSERT_TRUE(server);
  EXPECT_TRUE(status_of(*link));
}

TEST(Control, SaysWhyAStoreRefuses) {
  auto server = StoreControlServer::listen({"127.0.0.1", 0}, "a secret", sample_store());
  ASSERT_TRUE(server);
  auto link = StoreLink::start({"127.0.0.1", (*server)->port()}, "b secret", Millis(20));
  const Deadline by = soon();
  while (link->problem().find("cluster_token") == std::string::npos && !by.passed()) {
    std::this_thread::yield();
  }
  EXPECT_THAT(link->problem(), HasSubstr("cluster_token"));
  EXPECT_FALSE(link->connected());
}

}  // namespace
}  // namespace ebb::control::test
