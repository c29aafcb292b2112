// The HTTP server and client over real sockets: limits, garbage, slow and vanishing clients,
// streams.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "transport/http/client.h"
#include "transport/http/server.h"

namespace ebb::http {
namespace {

constexpr Millis kPatience{10000};

/// Waits for a condition that another thread makes true.
class Flag {
 public:
  void raise() {
    std::lock_guard lock(mutex_);
    raised_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return raised_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool raised_ = false;
};

/// A socket that says exactly what a test wants, well-formed or not.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~RawClient() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  bool say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return connected_;
  }
  /// Reads until `end` was seen, the peer closed, or patience ran out.
  std::string hear_until(std::string_view end) {
    const Deadline by = Deadline::after(kPatience);
    size_t searched = 0;
    while (heard_.find(end, searched) == std::string::npos && !by.passed()) {
      searched = heard_.size() < end.size() ? 0 : heard_.size() - end.size();
      pollfd p{fd_, POLLIN, 0};
      if (::poll(&p, 1, static_cast<int>(by.left().count())) <= 0) continue;
      char piece[65536];
      const ssize_t n = ::recv(fd_, piece, sizeof piece, 0);
      if (n <= 0) {
        closed_ = true;
        break;
      }
      heard_.append(piece, static_cast<size_t>(n));
    }
    return heard_;
  }
  std::string hear_all() { return hear_until("\x01never\x01"); }
  bool closed() const { return closed_; }
  void forget() { heard_.clear(); }

 private:
  int fd_;
  bool connected_ = false;
  bool closed_ = false;
  std::string heard_;
};

class HttpTest : public ::testing::Test {
 protected:
  void serve(Handler handler, ServerOptions options = {}, const std::string& host = "127.0.0.1") {
    auto started = Server::start(HostPort{host, 0}, options, std::move(handler));
    ASSERT_TRUE(started) << started.error().text();
    server_ = std::move(started).value();
  }
  void serve_echo(ServerOptions options = {}) { serve(echo, options); }
  static void echo(Request request, std::shared_ptr<Exchange> exchange) {
    Response response;
    response.content_type = "text/plain";
    response.body = request.method + " " + request.path + " " + request.body;
    exchange->send(std::move(response));
  }
  HostPort address() const { return {"127.0.0.1", server_->port()}; }
  Result<Response> get(const std::string& target) {
    ClientRequest request;
    request.target = target;
    return fetch(address(), request);
  }

  std::unique_ptr<Server> server_;
};

TEST_F(HttpTest, AnswersAGet) {
  serve_echo();
  auto response = get("/a%20b?x=1&y=a+b");
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "GET /a b ");
  EXPECT_EQ(response->content_type, "text/plain");
}

TEST_F(HttpTest, GivesTheHandlerQueryAndLowerCaseHeaders) {
  serve([](Request request, std::shared_ptr<Exchange> exchange) {
    Response response;
    response.body = request.query["y"] + "|" + request.headers["x-request-id"];
    exchange->send(std::move(response));
  });
  ClientRequest request;
  request.target = "/?x=1&y=a+b%26";
  request.headers["X-Request-Id"] = "r1";
  auto response = fetch(address(), request);
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->body, "a b&|r1");
}

TEST_F(HttpTest, CarriesALargeBodyBothWays) {
  serve_echo();
  ClientRequest request;
  request.method = "POST";
  request.body.assign(5 << 20, 'x');
  auto response = fetch(address(), request);
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->body.size(), request.body.size() + 7);
}

TEST_F(HttpTest, ServesOverIpv6) {
  auto started = Server::start(HostPort{"::1", 0}, {}, HttpTest::echo);
  if (!started) GTEST_SKIP() << "no IPv6 here: " << started.error().text();
  auto response = fetch(HostPort{"::1", (*started)->port()}, {});
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->body, "GET / ");
}

TEST_F(HttpTest, NamesAnAddressThatIsInUse) {
  serve_echo();
  auto second = Server::start(address(), {}, HttpTest::echo);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_EQ(second.error().message, "address already in use: " + address().text());
}

TEST_F(HttpTest, ClientNamesAnAddressThatRefuses) {
  serve_echo();
  const HostPort gone = address();
  server_.reset();
  auto response = fetch(gone, {});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_NE(response.error().message.find(gone.text()), std::string::npos);
}

TEST_F(HttpTest, ClientGivesUpAtItsDeadline) {
  serve([](Request, std::shared_ptr<Exchange> exchange) {
    auto held = exchange;
    exchange->on_disconnect([held] {});  // keeps the exchange open until the client leaves
  });
  ClientRequest request;
  request.timeout = Millis(50);
  auto response = fetch(address(), request);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kTimeout);
}

TEST_F(HttpTest, KeepsAConnectionForTheNextRequest) {
  serve_echo();
  RawClient client(server_->port());
  for (const std::string path : {"/one", "/two", "/three"}) {
    ASSERT_TRUE(client.say("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_NE(client.hear_until("GET " + path + " ").find("200 OK"), std::string::npos);
    client.forget();
  }
}

TEST_F(HttpTest, AnswersPipelinedRequestsInOrder) {
  serve_echo();
  RawClient client(server_->port());
  ASSERT_TRUE(
      client.say("GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n"));
  const std::string heard = client.hear_until("GET /two ");
  EXPECT_LT(heard.find("GET /one "), heard.find("GET /two "));
}

TEST_F(HttpTest, NoticesALeavingClientBehindPipelinedBytes) {
  Flag left, arrived;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->on_disconnect([&left, exchange] { left.raise(); });
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HT"));
  ASSERT_TRUE(arrived.wait());
  client.close();
  EXPECT_TRUE(left.wait());
}

TEST_F(HttpTest, ClosesWhenTheClientAsks) {
  serve_echo();
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  EXPECT_NE(client.hear_all().find("Connection: close"), std::string::npos);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, AnswersHeadWithoutABody) {
  serve_echo();
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  const std::string heard = client.hear_all();
  EXPECT_NE(heard.find("Content-Length: 7"), std::string::npos) << heard;
  EXPECT_TRUE(heard.ends_with("\r\n\r\n")) << heard;
}

TEST_F(HttpTest, AnswersGarbageWith400AndCloses) {
  serve_echo();
  for (const std::string_view garbage :
       {std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
        std::string_view("GET\r\n\r\n"), std::string_view("GET / HTTP/9.9\r\n\r\n"),
        std::string_view("GET / HTTP/1.1\r\nbroken header\r\n\r\n"),
        std::string_view("POST / HTTP/1.1\r\nContent-Length: banana\r\n\r\n"),
        std::string_view("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: "
                         "chunked\r\n\r\n0\r\n\r\n"),
        std::string_view("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        std::string_view("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"),
        std::string_view("GET nothing HTTP/1.1\r\nHost: x\r\n\r\n")}) {
    RawClient client(server_->port());
    ASSERT_TRUE(client.say(garbage));
    const std::string heard = client.hear_all();
    EXPECT_TRUE(heard.starts_with("HTTP/1.1 400 ")) << garbage << "\n" << heard;
    EXPECT_NE(heard.find("\"error\""), std::string::npos);
    EXPECT_TRUE(client.closed());
  }
  EXPECT_TRUE(get("/still-there"));
}

TEST_F(HttpTest, RefusesABodyOverTheLimitWith413) {
  ServerOptions options;
  options.body_max = 1000;
  serve_echo(options);
  ClientRequest request;
  request.method = "POST";
  request.body.assign(1000, 'x');
  auto fits = fetch(address(), request);
  ASSERT_TRUE(fits);
  EXPECT_EQ(fits->status, 200);
  request.body.assign(4 << 20, 'x');
  auto refused = fetch(address(), request);
  ASSERT_TRUE(refused) << refused.error().text();
  EXPECT_EQ(refused->status, 413);
  EXPECT_NE(refused->body.find("1000 bytes"), std::string::npos);
}

TEST_F(HttpTest, RefusesAChunkedBodyOverTheLimitWith413) {
  ServerOptions options;
  options.body_max = 1000;
  serve_echo(options);
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
  client.say("800\r\n" + std::string(0x800, 'x') + "\r\n0\r\n\r\n");
  EXPECT_TRUE(client.hear_until("bytes").starts_with("HTTP/1.1 413 "));
}

TEST_F(HttpTest, RefusesAHeadOverTheLimitWith431) {
  ServerOptions options;
  options.header_max = 2048;
  serve_echo(options);
  RawClient client(server_->port());
  client.say("GET / HTTP/1.1\r\nX-Long: " + std::string(1 << 20, 'y') + "\r\n\r\n");
  EXPECT_TRUE(client.hear_until("bytes").starts_with("HTTP/1.1 431 "));
}

TEST_F(HttpTest, TellsAnExpectingClientToContinue) {
  serve_echo();
  RawClient client(server_->port());
  ASSERT_TRUE(client.say(
      "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_NE(client.hear_until("\r\n\r\n").find("100 Continue"), std::string::npos);
  ASSERT_TRUE(client.say("ok"));
  EXPECT_NE(client.hear_until("POST /p ok").find("POST /p ok"), std::string::npos);
}

TEST_F(HttpTest, GivesUpOnARequestThatNeverEnds) {
  ServerOptions options;
  options.read_timeout = Millis(100);
  serve_echo(options);
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"));
  EXPECT_TRUE(client.hear_all().starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, ClosesAnIdleConnection) {
  ServerOptions options;
  options.idle_timeout = Millis(100);
  serve_echo(options);
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  client.hear_all();
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, TurnsConnectionsOverTheLimitAwayWith503) {
  ServerOptions options;
  options.connections_max = 1;
  serve_echo(options);
  RawClient first(server_->port());
  ASSERT_TRUE(first.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  first.hear_until("GET / ");
  RawClient second(server_->port());
  EXPECT_TRUE(second.hear_all().starts_with("HTTP/1.1 503 "));
  first.close();
  const Deadline by = Deadline::after(kPatience);
  bool served = false;
  while (!served && !by.passed()) {
    auto response = get("/");
    served = response && response->status == 200;
  }
  EXPECT_TRUE(served) << "a closed connection must make room";
}

TEST_F(HttpTest, StreamsPiecesAsTheyAreWritten) {
  std::shared_ptr<Exchange> kept;
  Flag arrived;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    Response head;
    head.content_type = "text/event-stream";
    exchange->begin_stream(std::move(head));
    kept = std::move(exchange);
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  EXPECT_TRUE(kept->write("first"));
  const std::string heard = client.hear_until("first");
  EXPECT_NE(heard.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(heard.find("5\r\nfirst\r\n"), std::string::npos);
  EXPECT_TRUE(kept->write("second piece"));
  kept->finish();
  EXPECT_NE(client.hear_until("0\r\n\r\n").find("c\r\nsecond piece\r\n0\r\n\r\n"),
            std::string::npos);
  client.forget();
  kept.reset();
}

TEST_F(HttpTest, APieceWrittenElsewhereNeverOvertakesTheHead) {
  for (int round = 0; round < 50; ++round) {
    std::thread writing;
    serve([&](Request, std::shared_ptr<Exchange> exchange) {
      exchange->begin_stream({});
      std::promise<void> written;
      writing = std::thread([&written, exchange] {
        exchange->write("piece");
        exchange->finish();
        written.set_value();
      });
      written.get_future().wait();  // all of it is posted while this thread is still in the handler
    });
    auto response = fetch(address(), {});
    writing.join();
    ASSERT_TRUE(response) << response.error().text();
    EXPECT_EQ(response->body, "piece");
  }
}

TEST_F(HttpTest, DeliversABigStreamWhole) {
  constexpr int kPieces = 20000;
  serve([](Request, std::shared_ptr<Exchange> exchange) {
    exchange->begin_stream({});
    for (int i = 0; i < kPieces; ++i) exchange->write("data: " + std::to_string(i) + "\n\n");
    exchange->finish();
  });
  std::string want, heard;
  for (int i = 0; i < kPieces; ++i) want += "data: " + std::to_string(i) + "\n\n";
  auto response = fetch_stream(address(), {}, [&](std::string_view piece) {
    heard += piece;
    return true;
  });
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(heard.size(), want.size());
  EXPECT_TRUE(heard == want);
}

TEST_F(HttpTest, StreamsToHttp10WithoutChunks) {
  serve([](Request, std::shared_ptr<Exchange> exchange) {
    exchange->begin_stream({});
    exchange->write("plain");
    exchange->finish();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.0\r\n\r\n"));
  const std::string heard = client.hear_all();
  EXPECT_TRUE(heard.ends_with("\r\n\r\nplain")) << heard;
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, NoticesAClientThatLeavesWhileItWaits) {
  Flag left, arrived;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->on_disconnect([&left, exchange] { left.raise(); });
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  client.close();
  EXPECT_TRUE(left.wait());
}

TEST_F(HttpTest, NoticesAClientThatLeavesAStream) {
  Flag left, arrived;
  std::shared_ptr<Exchange> kept;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->on_disconnect([&left] { left.raise(); });
    exchange->begin_stream({});
    exchange->write("one");
    kept = exchange;
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  client.hear_until("one");
  client.close();
  EXPECT_TRUE(left.wait());
  EXPECT_FALSE(kept->write("two"));
  kept.reset();
}

TEST_F(HttpTest, DropsAStreamWhoseReaderIsTooSlow) {
  ServerOptions options;
  options.stream_backlog_max = 64 * 1024;
  Flag left, arrived;
  std::shared_ptr<Exchange> kept;
  serve(
      [&](Request, std::shared_ptr<Exchange> exchange) {
        exchange->on_disconnect([&left] { left.raise(); });
        exchange->begin_stream({});
        kept = exchange;
        arrived.raise();
      },
      options);
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  const std::string piece(32 * 1024, 'z');
  const Deadline by = Deadline::after(kPatience);
  uint64_t accepted = 0;
  while (kept->write(piece) && !by.passed()) accepted += piece.size();
  EXPECT_FALSE(kept->write(piece));
  EXPECT_LT(accepted, 256 * kMiB) << "the backlog must be bounded";
  EXPECT_TRUE(left.wait());
  kept.reset();
}

TEST_F(HttpTest, AnswersARequestThatItsHandlerDropped) {
  serve([](Request, std::shared_ptr<Exchange>) {});
  auto response = get("/");
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->status, 500);
}

TEST_F(HttpTest, AnswersFromAnotherThread) {
  std::thread answering;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    answering = std::thread([exchange] { exchange->send({}); });
  });
  auto response = get("/");
  answering.join();
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(response->status, 200);
}

TEST_F(HttpTest, AnExchangeMayOutliveItsServer) {
  std::shared_ptr<Exchange> kept;
  Flag arrived, left;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->on_disconnect([&left] { left.raise(); });
    kept = std::move(exchange);
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  server_.reset();
  EXPECT_TRUE(left.wait());
  kept->send({});
  kept.reset();
  client.hear_all();
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, StopsAcceptingButFinishesWhatItHas) {
  Flag arrived;
  std::shared_ptr<Exchange> kept;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    kept = std::move(exchange);
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  server_->stop_accepting();
  const Deadline by = Deadline::after(kPatience);
  bool refused = false;
  while (!refused && !by.passed()) {
    ClientRequest request;
    request.timeout = Millis(200);
    auto response = fetch(address(), request);
    refused = !response && response.error().code == Code::kUnavailable;
  }
  EXPECT_TRUE(refused);
  kept->send({});
  EXPECT_NE(client.hear_until("\r\n\r\n").find("200 OK"), std::string::npos);
  kept.reset();
}

TEST_F(HttpTest, FlushWaitsForAnAnswerThatIsOnItsWay) {
  const std::string body(32 << 20, 'b');
  Flag sent;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    Response response;
    response.body = body;
    exchange->send(std::move(response));
    sent.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  ASSERT_TRUE(sent.wait());
  std::thread stopping([&] {
    server_->flush(Deadline::after(kPatience));
    server_.reset();
  });
  const std::string heard = client.hear_all();
  stopping.join();
  EXPECT_TRUE(heard.ends_with(body));
}

TEST_F(HttpTest, FlushDoesNotWaitForUnfinishedAnswers) {
  Flag arrived;
  std::shared_ptr<Exchange> kept;
  serve([&](Request, std::shared_ptr<Exchange> exchange) {
    kept = std::move(exchange);
    arrived.raise();
  });
  RawClient client(server_->port());
  ASSERT_TRUE(client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(arrived.wait());
  const Deadline by = Deadline::after(kPatience);
  server_->flush(by);
  EXPECT_FALSE(by.passed());
  kept.reset();
}

TEST_F(HttpTest, HeaderValuesCannotBreakOutOfTheirLine) {
  serve([](Request, std::shared_ptr<Exchange> exchange) {
    Response response;
    response.headers["X-Echo"] = "a\r\nX-Evil: 1";
    exchange->send(std::move(response));
  });
  auto response = get("/");
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_FALSE(response->headers.contains("x-evil"));
}


}  // namespace
}  // namespace ebb::http
