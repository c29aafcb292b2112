// RULER-style tasks, each asked freely and teacher-forced: the fraction of expected strings in the
// greedy answer, and the log-probability of the right answer's tokens through the policy's decode
// path. A tiny model fails the free form of most tasks; the paired log-probability still tells
// policies apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct RulerOptions {
  std::string policies = "dense;tidal:budget=n/8";
  std::vector<std::string> tasks;             ///< empty: all
  std::vector<uint64_t> lengths{1024, 2048};  ///< tokens of the whole prompt, at most
  uint64_t samples = 2;                       ///< prompts of each task and length
  uint64_t seed = 1;
  bool generate = true;  ///< false: teacher-forced only, half the time
};

/// Dense is run where `policies` does not name it. Errors: kInvalid (names the option and its
/// limit), and what the service says.
Result<cli::Exit> run_ruler(const Workplace& place, const RulerOptions& options);
Result<Report> report_ruler(const ResultDir& dir);

}  // namespace ebb::score
