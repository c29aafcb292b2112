// How often a row that a policy selects is still in a hot buffer, by the buffer's capacity: an LRU
// simulated over the selections of real decode steps (`ebb.trace: "selection"`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct HitsOptions {
  std::vector<std::string> texts;
  std::string policies = "tidal:budget=n/8";
  std::vector<uint64_t> capacities{256, 512, 1024, 2048};  ///< rows of a buffer
  uint64_t context = 2048;                                 ///< tokens prefilled
  uint64_t decode = 64;  ///< tokens generated and traced, at most 256
};

/// Errors: kInvalid (names the option and its limit), kNotFound, and what the service says.
Result<cli::Exit> run_hits(const Workplace& place, const HitsOptions& options);
Result<Report> report_hits(const ResultDir& dir);

}  // namespace ebb::score
