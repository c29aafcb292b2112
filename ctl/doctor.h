// doctor: looks at everything that a working cluster needs, in the order in which it breaks, and
// says what to do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "ctl/cli.h"

namespace ebb::ctl {

struct Finding {
  std::string what;  ///< "model file"
  bool ok = false;
  std::string detail;  ///< what was seen
  std::string hint;    ///< when not ok: what to do
};

struct DoctorOptions {
  ClusterConfig config;
  Service service;
  std::string bin_dir;
};

/// Calls `on_finding` as each check ends; a check that others need for sense (the coordinator) cuts
/// theirs short.
void examine(const DoctorOptions& options, const std::function<void(Finding)>& on_finding);

/// kUnhealthy when a finding is not ok.
int run_doctor(const Terminal& terminal, const DoctorOptions& options, Format format);

}  // namespace ebb::ctl
