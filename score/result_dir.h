// The folder of one run: what was asked (run.json), one record per finished cell (results.jsonl),
// and what was made of them. Safe to interrupt at any moment: a second run with the same settings
// goes on. Knows no measure.
#pragma once

#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ebb::score {

/// What decides the figures, in the order in which it is compared and shown: names such as
/// "--context" and their values. Where to connect and how to show progress are not among them.
using Settings = std::vector<std::pair<std::string, std::string>>;
/// The value of `name`; empty: there is none.
std::string setting(const Settings& settings, const std::string& name);

/// Not thread-safe.
class ResultDir {
 public:
  /// Makes the folder, or goes on with it. `command_line` is kept for the summary. Errors: kInvalid
  /// (not possible there; it holds other files than a run's; a run with other settings, the first
  /// of which is named).
  static Result<ResultDir> open(const std::string& path, const Settings& settings,
                                const std::string& command_line);
  /// For a report. Errors: kNotFound, kCorrupt.
  static Result<ResultDir> open_for_report(const std::string& path);

  const std::string& path() const { return path_; }
  const Settings& settings() const { return settings_; }
  const std::string& command_line() const { return command_line_; }
  /// Good records (JSON objects) by key; of several with one key, the last.
  const std::map<std::string, std::string>& records() const { return good_; }
  /// Why a cell failed, by key; only cells with no good record.
  const std::map<std::string, std::string>& failures() const { return failed_; }

  /// Adds a record: `fields` is a JSON object; "key" and "ok" come from here. Written and flushed
  /// as one line, so that a kill can tear at most the last one.
  Result<void> add(const std::string& key, const std::string& fields);
  Result<void> add_failure(const std::string& key, const std::string& message);
  /// Replaces a file of the folder as a whole.
  Result<void> write(const std::string& name, const std::string& text) const;

 private:
  Result<void> read_run();
  Result<void> read_records();
  Result<void> append(const std::string& line);
  std::string path_;
  Settings settings_;
  std::string command_line_;
  std::map<std::string, std::string> good_;
  std::map<std::string, std::string> failed_;
  std::ofstream out_;
};

}  // namespace ebb::score
