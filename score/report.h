// What a run's records become: a table for a person, JSON for programs, a picture. Written into the
// run's folder beside the records.
#pragma once

#include <string>
#include <vector>

#include "cli/terminal.h"
#include "score/backend.h"
#include "score/result_dir.h"

namespace ebb::score {

struct Report {
  std::vector<std::vector<std::string>> table;  ///< the first row is the heading
  std::vector<std::string> notes;               ///< sentences below the table
  std::string results;                          ///< JSON for "results" of the summary
  std::string picture;                          ///< SVG
};

/// The report of the run's command. Errors: kCorrupt (a record is not what this version writes),
/// kUnsupported (another version's command).
Result<Report> report_of(const ResultDir& dir);

/// Writes summary.json and picture.svg, prints the table on `out`.
Result<void> publish(const cli::Terminal& terminal, const ResultDir& dir);

/// `ebb-score report DIR...`. kNotThere, kFailed as errors have it.
cli::Exit run_report(const cli::Terminal& terminal, const std::vector<std::string>& dirs);

/// "12.3"; `digits` behind the point.
std::string fixed(double value, int digits);

}  // namespace ebb::score
