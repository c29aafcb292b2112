// batch run: sends each line of a file to the service, a bounded number at a time, and writes each
// answer when it comes. Safe to interrupt at any moment: --resume goes on where it stopped.
#pragma once

#include <string>

#include "ctl/cli.h"

namespace ebb::ctl {

struct BatchOptions {
  std::string input;
  std::string output;
  std::string summary;  ///< file for a JSON summary; empty: none
  bool resume = false;
  bool overwrite = false;
  unsigned max_inflight = 4;  ///< 1 to 256
  ProgressMode progress = ProgressMode::kAuto;
  Millis request_timeout{3600000};  ///< of one request, queueing included
  Millis busy_timeout{
      600000};  ///< how long one request is tried again while the service says 429 or 503
  Millis lost_timeout{
      60000};              ///< how long the service may not be reachable before the run gives up
  Millis retry_base{500};  ///< first pause; doubles up to 15 s; Retry-After goes before
};

/// `stop` ends the run soon, with kInterrupted.
/// kOk: every line answered 200. kPartial: some failed. kInterrupted, kCannotConnect: run again
/// with --resume. kUsage: files cannot be used. After kInterrupted, requests under way may still
/// hold threads: leave the process.
int run_batch(const Terminal& terminal, const Service& service, const BatchOptions& options,
              const StopFlag& stop);

}  // namespace ebb::ctl
