// The process that stands behind a local cluster: starts what the plan says, starts again what
// dies, and ends it all in order on SIGTERM. Knows nothing about what the processes do.
#pragma once

#include <string>

#include "ctl/run_dir.h"

namespace ebb::ctl {

/// Runs until the cluster has ended; for a process of its own (it takes over its signals and its
/// children). `lock_fd` holds the run folder's lock. Returns the exit status: 0 when it was asked
/// to stop.
int supervise(const RunDir& run_dir, int lock_fd);

/// Starts `program _supervise DIR` as a daemon: a session of its own, no terminal, log in
/// logs/supervisor.log. It inherits `lock_fd`; the caller closes its own copy. Errors: kInternal.
Result<void> start_supervisor(const std::string& program, const RunDir& run_dir, int lock_fd);

/// Asks the supervisor to stop and waits until it has. True when nothing runs any more; at the
/// deadline everything is killed. Nothing running: true at once.
bool stop_cluster(const RunDir& run_dir, Deadline by);

}  // namespace ebb::ctl
