#include "ctl/up.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "ctl/cli.h"
#include "ctl/supervisor.h"

namespace ebb::ctl {
namespace {

namespace fs = std::filesystem;

constexpr Millis kPollEvery{100};
constexpr Millis kStopGrace{15000};

/// True when nobody listens there, or when this machine cannot say (a name, a foreign address):
/// then the process itself will.
bool can_listen(const HostPort& address) {
  if (address.port == 0) return true;
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  const std::string host = address.host == "localhost" ? "127.0.0.1" : address.host;
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    size = sizeof *v4;
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    size = sizeof *v6;
  } else {
    return true;
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;
  const int on = 1;  // connections of an earlier cluster in TIME_WAIT do not count
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool busy =
      bind(fd, reinterpret_cast<sockaddr*>(&storage), size) != 0 && errno == EADDRINUSE;
  close(fd);
  return !busy;
}

Result<void> check_before_start(const ClusterConfig& config, const ClusterPlan& plan) {
  for (const PlannedProcess& process : plan.processes)
    if (access(process.argv[0].c_str(), X_OK) != 0)
      return not_found(process.argv[0] + " is not there: build it first (cmake --build build)");
  const std::string model = effective_model_path(config);
  if (!fs::is_regular_file(model) && !fs::is_directory(model))
    return not_found(
        "model file " + model +
        " is not there: fetch it with deploy/fetch_model.sh, or name one with --model");
  const std::string profile = effective_profile_path(config);
  if (!profile.empty() && !fs::is_regular_file(profile))
    return not_found("selection profile " + profile + " is not there (model.profile)");
  const std::string controller = effective_controller_path(config);
  if (!controller.empty() && !fs::is_regular_file(controller))
    return not_found("controller " + controller + " is not there (model.controller)");
  const std::string busy = busy_address(config);
  if (!busy.empty()) return unavailable("port in use: " + busy);
  return {};
}

/// One line on `err` that redraws on a terminal; elsewhere a line each time it changes.
class WaitLine {
 public:
  WaitLine(const Terminal& terminal, TimePoint start) : terminal_(terminal), start_(start) {}
  void show(const std::string& what) {
    const std::string seconds =
        format_seconds(std::chrono::duration<double>(Clock::now() - start_).count());
    if (terminal_.err_is_tty)
      terminal_.err << "\rwaiting for: " << printable(what) << " (" << seconds << ")\x1b[K"
                    << std::flush;
    else if (what != last_)
      terminal_.err << "waiting for: " << printable(what) << std::endl;
    last_ = what;
  }
  void end() {
    if (terminal_.err_is_tty && !last_.empty()) terminal_.err << "\r\x1b[K" << std::flush;
  }

 private:
  const Terminal& terminal_;
  TimePoint start_;
  std::string last_;
};

/// Waits for readiness. Errors: the reason why it will not come.
Result<void> wait_ready(const Terminal& terminal, const ClusterConfig& config,
                        const RunDir& run_dir, Millis timeout) {
  const Deadline by = Deadline::after(timeout);
  WaitLine line(terminal, Clock::now());
  http::ClientRequest request;
  request.target = "/ready";
  request.connect_timeout = Millis(1000);
  request.timeout = Millis(5000);
  std::string last = "the supervisor";
  bool seen = false;  // the supervisor's state, once
  while (!by.passed()) {
    // Deaths first: a foreign server on our port may well answer 200.
    const auto state = run_dir.read_state();
    seen = seen || state.has_value();
    for (const ProcessState& process : state ? state->processes : std::vector<ProcessState>()) {
      if (process.deaths == 0) continue;
      line.end();
      return unavailable(death_reason(process, run_dir.log_tail(process.name, 8)) +
                         "\n(log: " + run_dir.log_path(process.name) + ")");
    }
    if (!run_dir.is_locked()) {
      line.end();
      return unavailable("the supervisor ended:\n" + run_dir.log_tail("supervisor", 8));
    }
    if (seen) {
      const auto ready = http::fetch(reachable(config.coordinator.http_address), request);
      if (ready && ready->status == 200) {
        line.end();
        return {};
      }
      last = ready ? not_ready_because(*ready) : "the coordinator to listen";
    }
    line.show(last);
    std::this_thread::sleep_for(kPollEvery);
  }
  line.end();
  return timed_out("not ready after " +
                   format_seconds(static_cast<double>(timeout.count()) / 1000) +
                   "; still waiting for: " + last + " (logs: " + run_dir.path() + "/logs)");
}

std::vector<std::string> command(const std::string& binary, const UpOptions& options) {
  std::vector<std::string> argv{options.bin_dir + "/" + binary, "-c",
                                fs::absolute(options.config_path).lexically_normal().string()};
  for (const auto& [key, value] : options.overrides) {
    argv.push_back("--set");
    argv.push_back(key + "=" + value);
  }
  return argv;
}

}  // namespace

ClusterPlan plan_cluster(const ClusterConfig& config, const UpOptions& options) {
  // The coordinator drains before what it needs goes away.
  ClusterPlan plan;
  plan.restart = options.restart;
  for (const StoreConfig& store : config.stores) {
    PlannedProcess process{"store-" + store.name, command("ebb-kvstore", options), 2, kStopGrace};
    process.argv.insert(process.argv.end(), {"--store", store.name});
    plan.processes.push_back(process);
  }
  plan.processes.push_back({"coordinator", command("ebb-coordinator", options), 0,
                            config.coordinator.drain_timeout + kStopGrace});
  for (const GroupConfig& group : config.groups) {
    for (uint32_t rank = 0; rank < group.tensor_parallel_size; ++rank) {
      PlannedProcess process{"worker-" + group.name + "-" + std::to_string(rank),
                             command("ebb-worker", options), 1, kStopGrace};
      process.argv.insert(process.argv.end(),
                          {"--group", group.name, "--rank", std::to_string(rank)});
      plan.processes.push_back(process);
    }
  }
  return plan;
}

std::string busy_address(const ClusterConfig& config) {
  std::vector<std::pair<std::string, HostPort>> all{
      {"coordinator.http_address", config.coordinator.http_address},
      {"coordinator.control_address", config.coordinator.control_address},
      {"coordinator.metrics_address", config.coordinator.metrics_address}};
  for (size_t i = 0; i < config.stores.size(); ++i) {
    const std::string at = "stores." + std::to_string(i) + ".";
    all.emplace_back(at + "data_address", config.stores[i].data_address);
    all.emplace_back(at + "control_address", config.stores[i].control_address);
    all.emplace_back(at + "metrics_address", config.stores[i].metrics_address);
  }
  for (const auto& [key, address] : all)
    if (!can_listen(address)) return address.text() + " (" + key + ")";
  if (config.worker.metrics_port_base == 0) return "";
  for (const GroupConfig& group : config.groups) {
    for (uint32_t rank = 0; rank < group.tensor_parallel_size; ++rank) {
      const HostPort address{config.worker.metrics_host,
                             static_cast<uint16_t>(config.worker.metrics_port_base + rank)};
      if (!can_listen(address)) return address.text() + " (worker.metrics_port_base + rank)";
    }
  }
  return "";
}

std::string death_reason(const ProcessState& process, const std::string& log_tail) {
  const std::string died = process.name + " died (" + process.last_exit + ")";
  std::string lower = log_tail;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const size_t hit = std::min(lower.find("address already in use"), lower.find("port in use"));
  if (hit != std::string::npos) {
    const size_t newline = log_tail.rfind('\n', hit);
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    return died + ", port in use: " + log_tail.substr(begin, log_tail.find('\n', hit) - begin);
  }
  if (log_tail.empty()) return died + "; its log is empty";
  return died + "; the end of its log:\n" + log_tail;
}

int run_up(const Terminal& terminal, const UpOptions& options) {
  // 1. What is to run, and whether it can.
  auto loaded = load_cluster_config(options.config_path, options.overrides);
  if (!loaded) {
    report(terminal, loaded.error());
    return kUsage;
  }
  const ClusterConfig& config = loaded->config;
  const RunDir run_dir(fs::absolute(effective_run_dir(config)).lexically_normal().string());
  auto created = run_dir.create();
  if (!created) return report(terminal, created.error());
  auto lock = run_dir.lock();
  if (!lock) {
    report(terminal, lock.error());
    return kFailed;
  }
  const ClusterPlan plan = plan_cluster(config, options);
  auto checked = check_before_start(config, plan);
  if (!checked) {
    report(terminal, checked.error());
    close(*lock);
    return kFailed;
  }
  // 2. Start.
  run_dir.remove_state();
  run_dir.turn_logs();
  auto written = run_dir.write_plan(plan);
  auto started = written ? start_supervisor(options.self, run_dir, *lock) : written;
  close(*lock);  // the supervisor has its copy
  if (!started) return report(terminal, started.error());
  // 3. Wait, or take back.
  auto ready = wait_ready(terminal, config, run_dir, options.timeout);
  if (ready) {
    terminal.err << "ready: http://" << reachable(config.coordinator.http_address).text()
                 << "  (state and logs: " << run_dir.path() << ")" << std::endl;
    return kOk;
  }
  report(terminal, ready.error());
  if (!stop_cluster(run_dir, Deadline::after(config.coordinator.drain_timeout + 3 * kStopGrace)))
    terminal.err << "ebbctl: something could not be stopped; see " << run_dir.path() << std::endl;
  return kFailed;
}

int run_down(const Terminal& terminal, const RunDir& run_dir, Millis timeout) {
  if (!run_dir.is_locked()) {
    terminal.err << "nothing runs in " << run_dir.path() << std::endl;
    return kOk;
  }
  terminal.err << "stopping the cluster in " << run_dir.path() << std::endl;
  if (stop_cluster(run_dir, Deadline::after(timeout))) return kOk;
  return report(terminal, internal_error("the cluster in " + run_dir.path() +
                                         " could not be stopped in time"));
}

}  // namespace ebb::ctl
