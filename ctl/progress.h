// How far a batch is, for a person (a bar that redraws, or lines) or a program (JSON lines). Always
// on `err`: results go elsewhere. Pure but for the stream: the caller says what time it is.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "base/clock.h"

namespace ebb::ctl {

enum class ProgressMode { kAuto, kPlain, kNone, kJson };
/// "auto", "plain", "none", "json".
std::optional<ProgressMode> parse_progress_mode(const std::string& text);

struct ProgressCounts {
  uint64_t total = 0;
  uint64_t skipped = 0;  ///< done by an earlier run
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  uint64_t in_flight = 0;
  uint64_t bytes_answered = 0;  ///< of requests that this run has sent and got answered
  uint64_t bytes_left = 0;      ///< of lines that nothing has been done about
  uint64_t finished() const { return succeeded + failed; }
};

/// "[#####.....] 12/40, 2 failed, 1.20/s, 25.0 s left". Time left: from the rate of this run's
/// finished requests.
std::string progress_text(const ProgressCounts& counts, double seconds, unsigned bar_columns);

class Progress {
 public:
  /// `tty`: kAuto draws a bar, else it prints plain lines.
  Progress(std::ostream& err, ProgressMode mode, bool tty, TimePoint start);
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
  std::optional<TimePoint> written_;
  uint64_t written_finished_ = 0;
  bool bar_open_ = false;
};

}  // namespace ebb::ctl
