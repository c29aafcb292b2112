// How far a long job is, for a person (a bar that redraws, or lines) or a program (JSON lines).
// Always on `err`: results go elsewhere. Pure but for the stream: the caller says what time it is.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "base/clock.h"

namespace ebb::cli {

enum class ProgressMode { kAuto, kPlain, kNone, kJson };
/// "auto", "plain", "none", "json".
std::optional<ProgressMode> parse_progress_mode(const std::string& text);

struct ProgressCounts {
  uint64_t total = 0;
  uint64_t skipped = 0;  ///< done by an earlier run
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  uint64_t in_flight = 0;
  /// Work is in any one unit (bytes, tokens) that says how long a piece takes.
  uint64_t work_done = 0;  ///< of the pieces that this run itself has done
  uint64_t work_left = 0;  ///< of the pieces that nothing has been done about
  uint64_t finished() const { return succeeded + failed; }
};

/// "[#####.....] 12/40, 2 failed, about 25.0 s left". Time left: from the rate at which this run
/// has done work.
std::string progress_text(const ProgressCounts& counts, double seconds, unsigned bar_columns);

/// What is going on: "batch" goes before lines, "BatchProgress" is the kind of JSON lines.
struct ProgressName {
  std::string line = "batch";
  std::string kind = "BatchProgress";
};

class Progress {
 public:
  /// `tty`: kAuto draws a bar, else it prints plain lines.
  Progress(std::ostream& err, ProgressMode mode, bool tty, TimePoint start, ProgressName name = {});
  /// Call often; writes when something is to be said: a bar at once, a line when something has
  /// changed, but at most every 5 s and at least every 30 s.
  void update(const ProgressCounts& counts, TimePoint now);
  /// A line between redraws of the bar.
  void note(const std::string& text);
  /// The last state, whatever time it is.
  void finish(const ProgressCounts& counts, TimePoint now);

 private:
  void write(const ProgressCounts& counts, TimePoint now);
  std::ostream& err_;
  enum class Style { kBar, kLines, kJsonLines, kSilent } style_;
  TimePoint start_;
  ProgressName name_;
  std::optional<TimePoint> written_;
  uint64_t written_finished_ = 0;
  bool bar_open_ = false;
};

}  // namespace ebb::cli
