// The run folder of a local cluster: its lock, its plan, its state file and its logs. `ebbctl up`
// writes the plan, the supervisor holds the lock and writes the state, everybody reads it. Knows no
// HTTP.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace ebb::ctl {

struct PlannedProcess {
  std::string name;  ///< "coordinator", "worker-g0-1", "store-s0"
  std::vector<std::string> argv;
  uint32_t stop_order = 0;     ///< lower ones are stopped, and have ended, first
  Millis stop_timeout{15000};  ///< from SIGTERM to SIGKILL
};
struct ClusterPlan {
  std::vector<PlannedProcess> processes;
  bool restart = true;
  Millis restart_base{1000};  ///< first pause before a restart; doubles up to 10 s
};

struct ProcessState {
  std::string name;
  int64_t pid = 0;  ///< 0: not running
  uint64_t deaths = 0;
  std::string last_exit;  ///< "exit status 1", "signal 9 (Killed)"; empty: never
};
struct ClusterState {
  int64_t supervisor_pid = 0;
  bool stopping = false;
  std::vector<ProcessState> processes;
};

class RunDir {
 public:
  explicit RunDir(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  std::string log_path(const std::string& process) const {
    return path_ + "/logs/" + process + ".log";
  }

  /// Makes the folders, readable by their owner only. Errors: kInvalid (not possible there).
  Result<void> create() const;
  /// The cluster's lock; held as long as the descriptor, or a copy in a child, is open. Errors:
  /// kUnavailable when another process holds it.
  Result<int> lock() const;
  /// True when a supervisor holds the lock.
  bool is_locked() const;

  Result<void> write_plan(const ClusterPlan& plan) const;
  Result<ClusterPlan> read_plan() const;
  /// Replaces the file as a whole: a reader never sees half of it.
  Result<void> write_state(const ClusterState& state) const;
  /// Nothing when there is none, or when it cannot be read.
  std::optional<ClusterState> read_state() const;
  void remove_state() const;

  /// The last lines of a process's log, at most `lines` and 16 KiB.
  std::string log_tail(const std::string& process, size_t lines) const;
  /// Sets the logs of an earlier cluster aside, as NAME.log.1.
  void turn_logs() const;

 private:
  std::string path_;
};

}  // namespace ebb::ctl
