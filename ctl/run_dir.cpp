#include "ctl/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace ebb::ctl {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

Result<void> replace_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << text;
    file.close();
    if (!file) return invalid(fresh + ": " + std::strerror(errno));
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0)
    return invalid(path + ": " + std::strerror(errno));
  return {};
}

std::string read_whole(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

Result<void> RunDir::create() const {
  std::error_code error;
  fs::create_directories(path_ + "/logs", error);
  if (error) return invalid("run folder " + path_ + ": " + error.message());
  // Logs and the plan name files and addresses; they are their owner's business.
  if (chmod(path_.c_str(), 0700) != 0)
    return invalid("run folder " + path_ + ": " + std::strerror(errno));
  return {};
}

Result<int> RunDir::lock() const {
  const int fd = open((path_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return invalid(path_ + "/lock: " + std::strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  close(fd);
  const auto state = read_state();
  return unavailable("a cluster runs in " + path_ + " already" +
                     (state ? " (supervisor " + std::to_string(state->supervisor_pid) + ")" : "") +
                     "; end it with: ebbctl down --run-dir " + path_);
}

bool RunDir::is_locked() const {
  const int fd = open((path_ + "/lock").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
  close(fd);
  return held;
}

Result<void> RunDir::write_plan(const ClusterPlan& plan) const {
  json processes = json::array();
  for (const PlannedProcess& process : plan.processes)
    processes.push_back({{"name", process.name},
                         {"argv", process.argv},
                         {"stop_order", process.stop_order},
                         {"stop_timeout_ms", process.stop_timeout.count()}});
  const json all{{"apiVersion", "ebb/v1"},
                 {"kind", "ClusterPlan"},
                 {"restart", plan.restart},
                 {"restart_base_ms", plan.restart_base.count()},
                 {"processes", processes}};
  return replace_file(path_ + "/plan.json", all.dump(2) + "\n");
}

Result<ClusterPlan> RunDir::read_plan() const {
  try {
    const json all = json::parse(read_whole(path_ + "/plan.json"));
    ClusterPlan plan;
    plan.restart = all.at("restart").get<bool>();
    plan.restart_base = Millis(all.at("restart_base_ms").get<int64_t>());
    for (const json& in : all.at("processes"))
      plan.processes.push_back(
          {in.at("name").get<std::string>(), in.at("argv").get<std::vector<std::string>>(),
           in.at("stop_order").get<uint32_t>(), Millis(in.at("stop_timeout_ms").get<int64_t>())});
    for (const PlannedProcess& process : plan.processes)
      if (process.argv.empty()) return invalid(path_ + "/plan.json: a process without a command");
    return plan;
  } catch (const json::exception& error) {
    return invalid(path_ + "/plan.json: " + error.what());
  }
}

Result<void> RunDir::write_state(const ClusterState& state) const {
  json processes = json::array();
  for (const ProcessState& process : state.processes)
    processes.push_back({{"name", process.name},
                         {"pid", process.pid},
                         {"deaths", process.deaths},
                         {"last_exit", process.last_exit},
                         {"log", log_path(process.name)}});
  const json all{{"apiVersion", "ebb/v1"},
                 {"kind", "ClusterState"},
                 {"supervisor_pid", state.supervisor_pid},
                 {"stopping", state.stopping},
                 {"processes", processes}};
  return replace_file(path_ + "/state.json", all.dump(2) + "\n");
}

std::optional<ClusterState> RunDir::read_state() const {
  try {
    const json all = json::parse(read_whole(path_ + "/state.json"));
    ClusterState state;
    state.supervisor_pid = all.at("supervisor_pid").get<int64_t>();
    state.stopping = all.at("stopping").get<bool>();
    for (const json& in : all.at("processes"))
      state.processes.push_back({in.at("name").get<std::string>(), in.at("pid").get<int64_t>(),
                                 in.at("deaths").get<uint64_t>(),
                                 in.at("last_exit").get<std::string>()});
    return state;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

void RunDir::remove_state() const { unlink((path_ + "/state.json").c_str()); }

std::string RunDir::log_tail(const std::string& process, size_t lines) const {
  constexpr std::streamoff kTail = 16 * 1024;
  std::ifstream file(log_path(process), std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - kTail));
  std::ostringstream text;
  text << file.rdbuf();
  std::string tail = text.str();
  while (tail.ends_with("\n")) tail.pop_back();
  size_t at = tail.size();
  for (size_t i = 0; i < lines && at != std::string::npos; ++i)
    at = at == 0 ? std::string::npos : tail.rfind('\n', at - 1);
  return at == std::string::npos ? tail : tail.substr(at + 1);
}

void RunDir::turn_logs() const {
  std::error_code ignored;
  std::vector<fs::path> logs;
  for (const auto& entry : fs::directory_iterator(path_ + "/logs", ignored))
    if (entry.path().extension() == ".log") logs.push_back(entry.path());
  for (const fs::path& log : logs) fs::rename(log, log.string() + ".1", ignored);
}

}  // namespace ebb::ctl
