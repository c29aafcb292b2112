// The real ebb-kvstore process: killed, restarted, stopped, misconfigured.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include "kvstore/client.h"
#include "tests/kvstore/support.h"
#include "tests/support/tree_paths.h"
#include "transport/http/client.h"

extern char** environ;

namespace ebb::kvstore {
namespace {

constexpr Millis kLong(20000);

/// A child with its stderr; killed and reaped with the object.
class StoreProcess {
 public:
  explicit StoreProcess(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), ebb::test::built_path("bin/ebb-kvstore"));
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    const int failed = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
    if (failed != 0) throw std::runtime_error("posix_spawn");
  }
  ~StoreProcess() {
    if (pid_ > 0) (void)finish(SIGKILL);
    close(output_);
  }

  /// Reads on until a line contains `text`; that line, or nothing when the process ended or time
  /// was up.
  std::string line_with(const std::string& text) {
    const Deadline by = Deadline::after(kLong);
    for (;;) {
      const auto end = pending_.find('\n');
      if (end != std::string::npos) {
        const std::string line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        all_ += line + "\n";
        if (line.find(text) != std::string::npos) return line;
        continue;
      }
      pollfd wait{output_, POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(by.left().count())) <= 0) return "";
      char bytes[4096];
      const ssize_t count = read(output_, bytes, sizeof bytes);
      if (count <= 0) return "";
      pending_.append(bytes, static_cast<size_t>(count));
    }
  }
  /// Waits for "listening" and takes the ports from it.
  bool listening() {
    const std::string line = line_with("listening");
    data_ = port_after(line, "data=");
    metrics_ = port_after(line, "metrics=");
    return data_ != 0;
  }
  HostPort data() const { return {"127.0.0.1", data_}; }
  HostPort metrics() const { return {"127.0.0.1", metrics_}; }
  std::string output() {
    (void)line_with("\x01");  // never there: reads all
    return all_ + pending_;
  }
  /// Exit status as the shell would say it.
  int finish(int signal_number) {
    if (signal_number != 0) kill(pid_, signal_number);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static uint16_t port_after(const std::string& line, const std::string& name) {
    const auto at = line.find(name);
    if (at == std::string::npos) return 0;
    const auto colon = line.find(':', at);
    return static_cast<uint16_t>(std::atoi(line.c_str() + colon + 1));
  }
  pid_t pid_ = -1;
  int output_ = -1;
  uint16_t data_ = 0, metrics_ = 0;
  std::string pending_, all_;
};

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(config_) << "version: 1\n"
                              "cluster_token: token\n"
                              "stores:\n"
                              "  - name: s0\n"
                              "    data_address: 127.0.0.1:0\n"
                              "    control_address: 127.0.0.1:0\n"
                              "    metrics_address: 127.0.0.1:0\n"
                              "    host_size: 8MiB\n"
                              "    ssd_size: 128MiB\n"
                              "    ssd_path: "
                           << directory_.path("ssd") << "\n";
    data::MessengerOptions messaging;
    messaging.name = "client";
    auto started = data::Messenger::start(messaging);
    ASSERT_OK(started);
    messenger_ = std::move(*started);
  }
  void start(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"-c", config_, "--store", "s0"});
    process_.emplace(more);
    ASSERT_TRUE(process_->listening()) << process_->output();
    auto connected = Client::connect(*messenger_, process_->data(),
                                     {"token", "g0/rank0", "g0", Epoch{1}, {}, {3072}}, metrics_,
                                     Deadline::after(kLong));
    ASSERT_OK(connected);
    client_ = std::move(*connected);
  }
  Result<PutReply> put(const std::vector<Granule>& granules) {
    std::vector<PutItem> items;
    for (const Granule& granule : granules) items.push_back(granule.put_item());
    return wait_for<PutReply>(
        [&](auto done) { client_->put(SeqId{1}, items, Deadline::after(kLong), done); });
  }
  Result<void> flush() {
    return wait_for<void>([&](auto done) { client_->flush(Deadline::after(kLong), done); });
  }
  bool has(const Granule& granule) {
    std::vector<std::byte> frames(granule.body.size());
    const auto reply = wait_for<GetReply>([&](auto done) {
      client_->get({ask(granule)}, frames, Arrival::kChecked, Deadline::after(kLong), done);
    });
    EXPECT_TRUE(reply.has_value());
    if (!reply || reply->items[0].present != whole(granule.info).bitmap) return false;
    EXPECT_EQ(frames, granule.body);
    return true;
  }
  std::string http_body(const std::string& target, int expected = 200) {
    http::ClientRequest request;
    request.target = target;
    const auto response = http::fetch(process_->metrics(), request);
    EXPECT_TRUE(response.has_value());
    if (!response) return "";
    EXPECT_EQ(response->status, expected);
    return response->body;
  }

  TempDir directory_;
  std::string config_ = directory_.path("cluster.yaml");
  Metrics metrics_;
  std::unique_ptr<data::Messenger> messenger_;
  std::optional<StoreProcess> process_;
  std::unique_ptr<Client> client_;
};

TEST_F(ProcessTest, WhatIsDurableSurvivesKillNine) {
  uint64_t durable = 0, next = 0;
  for (int life = 0; life < 3; ++life) {
    start();
    for (uint64_t i = 0; i < durable; ++i)
      ASSERT_TRUE(has(make_granule(i))) << "life " << life << " granule " << i;
    std::vector<Granule> granules;
    for (int i = 0; i < 250; ++i) granules.push_back(make_granule(next++));
    ASSERT_OK(put(granules));
    ASSERT_OK(flush());
    durable = next;
    // Killed in the middle of more work, none of which was promised.
    granules.clear();
    for (int i = 0; i < 200; ++i) granules.push_back(make_granule(next++));
    std::vector<PutItem> items;
    for (const Granule& granule : granules) items.push_back(granule.put_item());
    std::promise<void> ended;
    client_->put(SeqId{1}, items, Deadline::after(kLong),
                 [&](const Result<PutReply>&) { ended.set_value(); });
    EXPECT_EQ(process_->finish(SIGKILL), 128 + SIGKILL);
    ended.get_future().wait();  // answered or failed, but not hanging
    client_.reset();
    next = durable;
  }
  start();
  for (uint64_t i = 0; i < durable; ++i) ASSERT_TRUE(has(make_granule(i))) << i;
}

TEST_F(ProcessTest, TerminationFlushesAndEndsWithZero) {
  start();
  std::vector<Granule> granules;
  for (uint64_t i = 0; i < 100; ++i) granules.push_back(make_granule(i));
  ASSERT_OK(put(granules));
  EXPECT_EQ(process_->finish(SIGTERM), 0);
  client_.reset();
  start();
  for (const Granule& granule : granules) EXPECT_TRUE(has(granule));
}

TEST_F(ProcessTest, ProbesAndMetricsAnswer) {
  start();
  ASSERT_OK(put({make_granule(1)}));
  EXPECT_TRUE(has(make_granule(1)));
  EXPECT_NE(http_body("/health").find("ok"), std::string::npos);
  EXPECT_NE(http_body("/ready").find("ready"), std::string::npos);
  EXPECT_NE(http_body("/version").find("version"), std::string::npos);
  (void)http_body("/nothing", 404);
  const std::string text = http_body("/metrics");
  for (const char* line :
       {"ebb_kv_granules{tier=\"host\"} 1", "ebb_kv_bytes{kind=\"capacity\",tier=\"ssd\"}",
        "ebb_kv_lookups_total{result=\"hit\",tier=\"host\"} 1", "ebb_build_info{version=",
        "ebb_kv_transfer_bytes_total{from=\"client\",to=\"host\"} 49280"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
}

TEST_F(ProcessTest, ASecondProcessOnTheSameDirectoryIsRefused) {
  start();
  StoreProcess second({"-c", config_, "--store", "s0"});
  const std::string output = second.output();
  EXPECT_EQ(second.finish(0), 1);
  EXPECT_NE(output.find("in use by another process"), std::string::npos) << output;
  EXPECT_NE(output.find(directory_.path("ssd")), std::string::npos);
}

TEST_F(ProcessTest, APortInUseIsNamed) {
  start();
  StoreProcess second({"-c", config_, "--store", "s0", "--set",
                       "stores.0.data_address=" + process_->data().text(), "--set",
                       "stores.0.ssd_path=" + directory_.path("other")});
  const std::string output = second.output();
  EXPECT_EQ(second.finish(0), 1);
  EXPECT_NE(output.find(process_->data().text()), std::string::npos) << output;
  EXPECT_NE(output.find("in use"), std::string::npos) << output;
}

TEST_F(ProcessTest, BadCommandLinesAreExplained) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"-c", config_, "--store", "s7"}, "no such store"},
      {{"-c", config_, "--set", "stores.0.host_sise=1MiB"}, "host_size"},
      {{"-c", config_, "--set", "nonsense"}, "key=value"},
      {{"-c", directory_.path("missing.yaml")}, "missing.yaml"},
      {{"--unknown-flag"}, "unknown-flag"},
  };
  for (const auto& [arguments, text] : cases) {
    StoreProcess process(arguments);
    const std::string output = process.output();
    EXPECT_EQ(process.finish(0), 2) << text;
    EXPECT_NE(output.find(text), std::string::npos) << output;
  }
}

TEST_F(ProcessTest, SizesThatCannotWorkAreExplained) {
  for (const auto& [setting, text] : std::vector<std::pair<std::string, std::string>>{
           {"stores.0.ssd_size=1MiB", "ssd_size"},
           {"stores.0.ssd_path=/proc/nowhere", "/proc/nowhere"}}) {
    StoreProcess process({"-c", config_, "--set", setting});
    const std::string output = process.output();
    EXPECT_NE(process.finish(0), 0) << text;
    EXPECT_NE(output.find(text), std::string::npos) << output;
  }
}

}  // namespace
}  // namespace ebb::kvstore
