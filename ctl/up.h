// up and down: a cluster on this machine from the same binaries and the same file as anywhere else.
#pragma once

#include <map>
#include <string>

#include "base/cluster_config.h"
#include "ctl/cli.h"
#include "ctl/run_dir.h"

namespace ebb::ctl {

struct UpOptions {
  std::string config_path;
  /// of --set, --model and --run-dir, as config keys
  std::map<std::string, std::string> overrides;
  bool restart = true;
  Millis timeout{180000};  ///< until ready
  std::string bin_dir;     ///< folder of the binaries
  std::string self;        ///< the ebbctl binary, which becomes the supervisor
};

/// The processes of `config`'s cluster: stores, coordinator, one worker a rank.
ClusterPlan plan_cluster(const ClusterConfig& config, const UpOptions& options);

/// An address that somebody else listens on: its key and the address; nothing when all are free.
std::string busy_address(const ClusterConfig& config);

/// What a log says about why its process died, as one sentence: the line about a busy port when
/// there is one, else the last lines.
std::string death_reason(const ProcessState& process, const std::string& log_tail);

/// kOk: GET /ready answers 200. Else everything that was started has been stopped again, and the
/// reason is on `err`.
int run_up(const Terminal& terminal, const UpOptions& options);
/// kOk also when nothing runs.
int run_down(const Terminal& terminal, const RunDir& run_dir, Millis timeout);

}  // namespace ebb::ctl
