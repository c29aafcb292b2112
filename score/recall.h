// Attention-mass recall: of the probability that dense attention would give with the same query,
// the share that falls into what a layer reads, by layer. Teacher-forced decode steps, mean over
// heads. Needs a backend that sees inside.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct RecallOptions {
  std::vector<std::string> texts;
  std::string policies = "tidal:budget=n/8";
  uint64_t context = 2048;  ///< tokens prefilled
  uint64_t decode = 64;     ///< tokens decoded of each text
};

/// Errors: kInvalid (names the option and its limit), kUnsupported (a service), kNotFound.
Result<cli::Exit> run_recall(const Workplace& place, const RecallOptions& options);
Result<Report> report_recall(const ResultDir& dir);

}  // namespace ebb::score
