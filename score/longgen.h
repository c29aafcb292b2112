// Long generation: a table is to be copied line by line in another form. Every line of the answer
// needs another part of the prompt, so a selection made once, at the begin, cannot be enough.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/haystack.h"
#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct LonggenOptions {
  std::string policies = "dense;tidal:budget=n/8";
  uint64_t length = 1500;  ///< tokens of the prompt, at most
  uint64_t samples = 1;    ///< tables
  uint64_t seed = 1;
  bool generate = true;  ///< false: teacher-forced only, half the time
};

/// Dense is run where `policies` does not name it. Errors: kInvalid (names the option and its
/// limit), and what the service says.
Result<cli::Exit> run_longgen(const Workplace& place, const LonggenOptions& options);
Result<Report> report_longgen(const ResultDir& dir);

/// A table of `rows` rows, and its lines in the other form; the first two are given as begun.
Question table_question(uint64_t seed, uint64_t rows);
/// Lines of `text` that are expected, each counted once.
uint64_t lines_right(const std::string& text, const std::vector<std::string>& expected);

}  // namespace ebb::score
