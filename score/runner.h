// Runs the cells of a measure one after another: skips what is done, shows progress with the time
// left, records each end, and lets go when asked to. Knows no measure.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "cli/stop.h"
#include "cli/terminal.h"
#include "score/backend.h"
#include "score/result_dir.h"

namespace ebb::score {

/// What every measure is given.
struct Workplace {
  const cli::Terminal& terminal;
  std::shared_ptr<Backend> backend;  ///< shared with a cell that is left running by an interruption
  cli::StopFlag stop;
  cli::ProgressMode progress = cli::ProgressMode::kAuto;
  std::string out;           ///< folder of the run
  std::string command_line;  ///< goes into the summary
};

/// One figure of a measure.
struct Cell {
  std::string key;    ///< unique in its run, readable
  uint64_t work = 1;  ///< about how long it takes, in any unit
  /// The record's fields as a JSON object. Runs on a thread of its own and may outlive the run, so
  /// it owns what it uses.
  std::function<Result<std::string>()> run;
};

/// kOk: all cells have a record. kPartial: some failed; kFailed: all. kInterrupted and
/// kCannotConnect: the same command goes on. After kInterrupted a cell may still hold a thread:
/// leave the process with _exit().
Result<cli::Exit> run_cells(const Workplace& place, ResultDir& dir, const std::vector<Cell>& cells);

}  // namespace ebb::score
