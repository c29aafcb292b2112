#include "cli/progress.h"

#include <algorithm>
#include <cstdio>

#include "base/units.h"

namespace ebb::cli {
namespace {

constexpr unsigned kBarColumns = 24;
constexpr Millis kBarEvery{200};
constexpr Millis kLineEvery{5000};
constexpr Millis kIdleLineEvery{30000};

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Seconds until the end; nothing as long as nothing was answered.
std::optional<double> seconds_left(const ProgressCounts& counts, double seconds) {
  if (counts.work_done == 0) return std::nullopt;
  return seconds * static_cast<double>(counts.work_left) / static_cast<double>(counts.work_done);
}

std::string json_line(const std::string& kind, const ProgressCounts& counts, double seconds) {
  char text[320];
  int size = std::snprintf(text, sizeof text,
                           "{\"kind\":\"%s\",\"total\":%llu,\"skipped\":%llu,"
                           "\"succeeded\":%llu,\"failed\":%llu,\"in_flight\":%llu,\"seconds\":%.1f",
                           kind.c_str(), static_cast<unsigned long long>(counts.total),
                           static_cast<unsigned long long>(counts.skipped),
                           static_cast<unsigned long long>(counts.succeeded),
                           static_cast<unsigned long long>(counts.failed),
                           static_cast<unsigned long long>(counts.in_flight), seconds);
  std::string out(text, static_cast<size_t>(size));
  if (const auto left = seconds_left(counts, seconds)) {
    size = std::snprintf(text, sizeof text, ",\"seconds_left\":%.1f", *left);
    out.append(text, static_cast<size_t>(size));
  }
  return out + "}";
}

}  // namespace

std::optional<ProgressMode> parse_progress_mode(const std::string& text) {
  if (text == "auto") return ProgressMode::kAuto;
  if (text == "plain") return ProgressMode::kPlain;
  if (text == "none") return ProgressMode::kNone;
  if (text == "json") return ProgressMode::kJson;
  return std::nullopt;
}

std::string progress_text(const ProgressCounts& counts, double seconds, unsigned bar_columns) {
  const uint64_t done = counts.skipped + counts.finished();
  std::string out;
  if (bar_columns > 0 && counts.total > 0) {
    const auto full =
        static_cast<unsigned>(std::min(done, counts.total) * bar_columns / counts.total);
    out += "[" + std::string(full, '#') + std::string(bar_columns - full, '.') + "] ";
  }
  out += std::to_string(done) + "/" + std::to_string(counts.total);
  if (counts.failed > 0) out += ", " + std::to_string(counts.failed) + " failed";
  if (counts.skipped > 0) out += ", " + std::to_string(counts.skipped) + " from before";
  if (counts.in_flight > 0) out += ", " + std::to_string(counts.in_flight) + " running";
  if (done >= counts.total) return out + ", " + format_seconds(seconds);
  if (const auto left = seconds_left(counts, seconds))
    return out + ", about " + format_seconds(*left) + " left";
  return out + ", " + format_seconds(seconds) + " so far";
}

Progress::Progress(std::ostream& err, ProgressMode mode, bool tty, TimePoint start,
                   ProgressName name)
    : err_(err), style_(Style::kSilent), start_(start), name_(std::move(name)) {
  if (mode == ProgressMode::kJson) style_ = Style::kJsonLines;
  if (mode == ProgressMode::kPlain) style_ = Style::kLines;
  if (mode == ProgressMode::kAuto) style_ = tty ? Style::kBar : Style::kLines;
}

void Progress::update(const ProgressCounts& counts, TimePoint now) {
  const bool changed = counts.finished() != written_finished_;
  const Millis every = style_ == Style::kBar ? kBarEvery : changed ? kLineEvery : kIdleLineEvery;
  if (written_ && now - *written_ < every) return;
  write(counts, now);
}

void Progress::note(const std::string& text) {
  if (style_ == Style::kSilent || style_ == Style::kJsonLines) return;
  if (bar_open_) err_ << "\r\x1b[K";
  bar_open_ = false;
  err_ << text << std::endl;
}

void Progress::finish(const ProgressCounts& counts, TimePoint now) {
  write(counts, now);
  if (bar_open_) err_ << std::endl;
  bar_open_ = false;
}

void Progress::write(const ProgressCounts& counts, TimePoint now) {
  written_ = now;
  written_finished_ = counts.finished();
  const double seconds = seconds_between(start_, now);
  if (style_ == Style::kJsonLines) err_ << json_line(name_.kind, counts, seconds) << std::endl;
  if (style_ == Style::kLines)
    err_ << name_.line << ": " << progress_text(counts, seconds, 0) << std::endl;
  if (style_ != Style::kBar) return;
  err_ << "\r" << progress_text(counts, seconds, kBarColumns) << "\x1b[K" << std::flush;
  bar_open_ = true;
}

}  // namespace ebb::cli
