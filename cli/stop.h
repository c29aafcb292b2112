// Ctrl-C, SIGTERM and SIGHUP as a flag that a long job looks at between two pieces of work.
#pragma once

#include <atomic>
#include <memory>

namespace ebb::cli {

/// Set from anywhere (a signal's thread): the job ends soon. Shared, because threads that wait for
/// an answer may outlive the job.
using StopFlag = std::shared_ptr<std::atomic<bool>>;

/// From now on these signals set the flag instead of ending the process. Call it before the first
/// thread exists: only then none of them is handled elsewhere. A thread waits for signals until the
/// process ends, so leave with _exit().
StopFlag stop_on_signals();

}  // namespace ebb::cli
