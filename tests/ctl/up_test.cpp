// up, down and the supervisor, with real processes: a stand-in coordinator that serves /ready, and
// shell scripts for workers and store.
#include "ctl/up.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "ctl/supervisor.h"
#include "tests/cli/fixture.h"
#include "tests/support/tree_paths.h"

namespace ebb::ctl {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

bool eventually(const std::function<bool()>& holds) {
  const Deadline by = Deadline::after(Millis(20000));
  while (!holds()) {
    if (by.passed()) return false;
    std::this_thread::sleep_for(Millis(5));
  }
  return true;
}

/// A zombie is dead: whether and when it is reaped is its parent's affair (an init, here).
bool is_alive(int64_t pid) {
  if (pid <= 0 || kill(static_cast<pid_t>(pid), 0) != 0) return false;
  const std::string stat = test::read_file("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.compare(name_end, 3, ") Z") != 0;
}

/// Ports that were free a moment ago, all different.
std::vector<uint16_t> free_ports(size_t count) {
  std::vector<int> sockets;
  std::vector<uint16_t> ports;
  for (size_t i = 0; i < count; ++i) {
    sockets.push_back(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(sockets.back(), reinterpret_cast<sockaddr*>(&address), size);
    getsockname(sockets.back(), reinterpret_cast<sockaddr*>(&address), &size);
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int fd : sockets) close(fd);
  return ports;
}

class Up : public ::testing::Test {
 protected:
  Up() : run_dir_(dir_.path("run")) {
    fs::create_directory(dir_.path("bin"));
    fs::create_symlink(ebb::test::built_path("tests/ebb_ctl_stand_in"),
                       dir_.path("bin/ebb-coordinator"));
    script("ebb-worker", "exec sleep 1000");
    script("ebb-kvstore", "exec sleep 1000");
    dir_.file("m.gguf", "a model");
    dir_.file("c.yaml", "model: {path: m.gguf}\nworker: {metrics_port_base: 0}\n");
    const auto ports = free_ports(6);
    const char* keys[] = {"coordinator.http_address",    "coordinator.control_address",
                          "coordinator.metrics_address", "stores.0.data_address",
                          "stores.0.control_address",    "stores.0.metrics_address"};
    for (size_t i = 0; i < 6; ++i)
      options_.overrides[keys[i]] = "127.0.0.1:" + std::to_string(ports[i]);
    options_.overrides["run_dir"] = run_dir_.path();
    options_.config_path = dir_.path("c.yaml");
    options_.bin_dir = dir_.path("bin");
    options_.self = ebb::test::built_path("bin/ebbctl");
    options_.timeout = Millis(30000);
  }
  ~Up() override { EXPECT_TRUE(stop_cluster(run_dir_, Deadline::after(Millis(20000)))); }

  void script(const std::string& name, const std::string& body) {
    const std::string path = dir_.file("bin/" + name, "#!/bin/sh\n" + body + "\n");
    fs::permissions(path, fs::perms::owner_all);
  }
  int up() { return run_up(kept_.terminal, options_); }
  ProcessState process(const std::string& name) {
    const auto state = run_dir_.read_state();
    for (const ProcessState& p : state ? state->processes : std::vector<ProcessState>())
      if (p.name == name) return p;
    return {};
  }

  test::TempDir dir_;
  RunDir run_dir_;
  UpOptions options_;
  KeptTerminal kept_;
};

TEST_F(Up, ReturnsWhenReadyAndDownEndsEverything) {
  ASSERT_EQ(up(), kOk) << kept_.err.str();
  EXPECT_THAT(kept_.err.str(), HasSubstr("waiting for: ranks 0 1 of g0\n"));
  EXPECT_THAT(kept_.err.str(), HasSubstr("ready: http://"));
  const auto state = run_dir_.read_state();
  ASSERT_TRUE(state);
  ASSERT_EQ(state->processes.size(), 4u);
  for (const ProcessState& p : state->processes) EXPECT_TRUE(is_alive(p.pid)) << p.name;
  EXPECT_EQ(run_down(kept_.terminal, run_dir_, Millis(20000)), kOk);
  for (const ProcessState& p : state->processes) EXPECT_FALSE(is_alive(p.pid)) << p.name;
  EXPECT_EQ(run_down(kept_.terminal, run_dir_, Millis(20000)), kOk) << "nothing runs";
}

TEST_F(Up, ASecondClusterInOneRunFolderIsRefused) {
  ASSERT_EQ(up(), kOk) << kept_.err.str();
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("a cluster runs in " + run_dir_.path() + " already"));
  EXPECT_TRUE(is_alive(process("coordinator").pid)) << "the first one goes on";
}

TEST_F(Up, AProcessThatDiesIsNamedWithTheEndOfItsLog) {
  script("ebb-worker", "echo line one; echo 'the model file is torn' >&2; exit 3");
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("worker-g0-"));
  EXPECT_THAT(kept_.err.str(), HasSubstr("died (exit status 3)"));
  EXPECT_THAT(kept_.err.str(), HasSubstr("the model file is torn"));
  EXPECT_FALSE(run_dir_.is_locked()) << "what was started has been stopped";
}

TEST_F(Up, APortInUseIsSaidBeforeAnythingStarts) {
  const FakeService other([](const http::Request&) { return json_answer(200, "{}"); });
  const std::string busy = other.service().api.text();
  options_.overrides["coordinator.http_address"] = busy;
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("port in use: " + busy + " (coordinator.http_address)"));
}

TEST_F(Up, APortInUseIsFoundInALogToo) {
  const ProcessState died{"store-s0", 0, 1, "exit status 1"};
  EXPECT_EQ(death_reason(died, "starting\nerror: address already in use: 127.0.0.1:7500\nbye"),
            "store-s0 died (exit status 1), port in use: "
            "error: address already in use: 127.0.0.1:7500");
}

TEST_F(Up, WhatIsMissingIsNamed) {
  options_.overrides["model.path"] = "/absent.gguf";
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("model file /absent.gguf is not there"));
  fs::remove(dir_.path("bin/ebb-worker"));
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("ebb-worker is not there: build it first"));
  options_.overrides["coordinator.http_adress"] = "x";
  EXPECT_EQ(up(), kUsage);
}

TEST_F(Up, AClusterThatDoesNotGetReadyIsStoppedAndSaysWhatItWaitedFor) {
  fs::remove(dir_.path("bin/ebb-coordinator"));
  script("ebb-coordinator", "exec sleep 1000");
  options_.timeout = Millis(3000);  // the supervisor itself is there by then, sanitized too
  EXPECT_EQ(up(), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("still waiting for: the coordinator to listen"));
  EXPECT_FALSE(run_dir_.is_locked());
}

TEST_F(Up, TheSupervisorStartsAgainWhatDied) {
  ASSERT_EQ(up(), kOk) << kept_.err.str();
  const ProcessState before = process("worker-g0-1");
  kill(static_cast<pid_t>(before.pid), SIGKILL);
  ASSERT_TRUE(eventually([&] {
    const ProcessState now = process("worker-g0-1");
    return now.deaths == 1 && now.pid != 0 && now.pid != before.pid;
  }));
  EXPECT_EQ(process("worker-g0-1").last_exit, "signal 9 (Killed)");
}

TEST_F(Up, WithoutRestartTheDeadStayDead) {
  options_.restart = false;
  ASSERT_EQ(up(), kOk) << kept_.err.str();
  kill(static_cast<pid_t>(process("store-s0").pid), SIGKILL);
  ASSERT_TRUE(eventually([&] { return process("store-s0").deaths == 1; }));
  EXPECT_EQ(process("store-s0").pid, 0);
}

TEST_F(Up, AKilledSupervisorLeavesNoOrphans) {
  ASSERT_EQ(up(), kOk) << kept_.err.str();
  const auto state = run_dir_.read_state();
  kill(static_cast<pid_t>(state->supervisor_pid), SIGKILL);
  for (const ProcessState& p : state->processes)
    EXPECT_TRUE(eventually([&] { return !is_alive(p.pid); })) << p.name;
}

/// The supervisor alone, with a plan of the test's own.
TEST_F(Up, StopsInOrderAndKillsWhatDoesNotObey) {
  const std::string trace = dir_.path("trace");
  const auto traced = [&](const std::string& name) {
    return std::vector<std::string>{"/bin/sh", "-c",
                                    "trap 'echo " + name + " >> " + trace +
                                        "; exit 0' TERM; touch " + dir_.path(name) +
                                        ".up; while :; do sleep 0.01; done"};
  };
  ClusterPlan plan;
  plan.processes = {
      {"last", traced("last"), 2, Millis(10000)},
      {"first", traced("first"), 0, Millis(10000)},
      {"deaf",
       {"/bin/sh", "-c",
        "trap '' TERM; touch " + dir_.path("deaf.up") + "; while :; do sleep 0.01; done"},
       1,
       Millis(100)}};
  ASSERT_TRUE(run_dir_.create());
  ASSERT_TRUE(run_dir_.write_plan(plan));
  const auto lock = run_dir_.lock();
  ASSERT_TRUE(lock);
  ASSERT_TRUE(start_supervisor(ebb::test::built_path("bin/ebbctl"), run_dir_, *lock));
  close(*lock);
  for (const char* name : {"first", "deaf", "last"})
    ASSERT_TRUE(eventually([&] { return fs::exists(dir_.path(std::string(name) + ".up")); }));
  EXPECT_TRUE(stop_cluster(run_dir_, Deadline::after(Millis(20000))));
  EXPECT_EQ(test::read_file(trace), "first\nlast\n");
  EXPECT_THAT(run_dir_.log_tail("supervisor", 10), HasSubstr("killed name=deaf"));
}

TEST_F(Up, EveryProcessGetsTheSameFileAndOverrides) {
  auto loaded = load_cluster_config(options_.config_path, options_.overrides);
  ASSERT_TRUE(loaded) << loaded.error().text();
  const ClusterPlan plan = plan_cluster(loaded->config, options_);
  ASSERT_EQ(plan.processes.size(), 4u);
  for (const PlannedProcess& p : plan.processes) {
    EXPECT_THAT(p.argv, ::testing::Contains("run_dir=" + run_dir_.path())) << p.name;
    EXPECT_EQ(p.argv[2], dir_.path("c.yaml"));
  }
  EXPECT_EQ(plan.processes[3].name, "worker-g0-1");
  EXPECT_EQ(plan.processes[3].argv.back(), "1");
  EXPECT_LT(plan.processes[1].stop_order, plan.processes[3].stop_order)
      << "the coordinator drains first";
}

}  // namespace
}  // namespace ebb::ctl
