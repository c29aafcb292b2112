#include "ctl/batch_run.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "ctl/batch_file.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;

constexpr unsigned kInflightMax = 256;
constexpr Millis kPauseMax{15000};
/// A server may ask for a pause, but not for an hour.
constexpr Millis kRetryAfterMax{60000};
/// A request that breaks the connection this often, while the service is reachable, is itself the
/// reason.
constexpr int kBrokenMax = 3;
/// Failures whose reason is shown at the end; the output has them all.
constexpr size_t kReasonsMax = 3;

struct Totals {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t retries = 0;
};

/// All that the sending threads share. They hold it jointly with the run: after an interruption the
/// run returns while requests are still under way.
struct Batch {
  Service service;
  BatchOptions options;
  StopFlag stop;

  std::mutex input_mutex;
  std::ifstream input;
  std::optional<LineReader> reader;
  uint64_t line_number = 0;
  std::set<std::string> seen;
  std::set<std::string> done_before;

  std::mutex mutex;  ///< all below
  std::condition_variable changed;
  std::ofstream output;
  ProgressCounts counts;
  Totals totals;
  unsigned threads = 0;
  std::vector<std::string> reasons;  ///< of the first few failures, for a person
  bool closed = false;               ///< the run has ended: write nothing any more
  std::optional<Error> fatal;

  bool stopping() {
    const std::lock_guard lock(mutex);
    return closed || fatal.has_value() || stop->load();
  }
  void fail(Error error) {
    const std::lock_guard lock(mutex);
    if (!fatal) fatal = std::move(error);
    changed.notify_all();
  }
  /// False when the run is being stopped.
  bool pause(Millis duration) {
    std::unique_lock lock(mutex);
    const auto until = Clock::now() + duration;
    // In slices: a signal sets `stop` without being able to notify.
    while (!closed && !fatal && !stop->load() && Clock::now() < until)
      changed.wait_until(lock, std::min(until, Clock::now() + Millis(100)));
    return !closed && !fatal && !stop->load();
  }
};

/// How one line of the input ended.
struct Outcome {
  std::string failure;  ///< why it failed, for a person; empty: it did not
  bool sent = false;    ///< it went to the service, so the time it took says something
  uint64_t bytes = 0;
};

/// Writes and flushes one line of the output, so that a kill can tear at most the last one.
void write_line(Batch& batch, const Outcome& outcome, const std::string& line) {
  const std::lock_guard lock(batch.mutex);
  if (batch.closed) return;
  batch.output << line << '\n' << std::flush;
  ++(outcome.failure.empty() ? batch.counts.succeeded : batch.counts.failed);
  if (!outcome.failure.empty() && batch.reasons.size() < kReasonsMax)
    batch.reasons.push_back(outcome.failure);
  if (outcome.sent) batch.counts.work_done += outcome.bytes;
  batch.counts.work_left -= std::min(batch.counts.work_left, outcome.bytes);
  if (!batch.output && !batch.fatal)
    batch.fatal =
        internal_error(batch.options.output + ": cannot be written: " + std::strerror(errno));
  batch.changed.notify_all();
}

std::string reason_of(const BatchLineError& error) {
  return "line " + std::to_string(error.line) +
         (error.custom_id ? " (" + *error.custom_id + "): " : ": ") + error.message;
}

/// A request to send, an error to write at once, or nothing: blank, or done by an earlier run.
using Judged = std::variant<std::monostate, BatchRequest, BatchLineError>;

Judged judge(Batch& batch, const LineReader::Line& line) {
  if (line.too_long)
    return BatchLineError{batch.line_number, std::nullopt, "line_too_long",
                          "the line is longer than " + format_bytes(kBatchLineMax)};
  if (line.text.find_first_not_of(" \t\r") == std::string::npos) return {};
  auto parsed = parse_batch_line(batch.line_number, line.text);
  if (auto* wrong = std::get_if<BatchLineError>(&parsed)) return std::move(*wrong);
  auto& request = std::get<BatchRequest>(parsed);
  if (!batch.seen.insert(request.custom_id).second)
    return BatchLineError{request.line, request.custom_id, "duplicate_custom_id",
                          "an earlier line has this custom_id already"};
  if (!batch.done_before.contains(request.custom_id)) return std::move(request);
  const std::lock_guard lock(batch.mutex);
  ++batch.counts.skipped;
  batch.counts.work_left -= std::min(batch.counts.work_left, request.bytes);
  return {};
}

/// The next request to send; bad lines on the way are answered at once. Nothing: the end.
std::optional<BatchRequest> next_request(Batch& batch) {
  const std::lock_guard lock(batch.input_mutex);
  while (!batch.stopping()) {
    auto line = batch.reader->next();
    if (!line) return std::nullopt;
    ++batch.line_number;
    Judged judged = judge(batch, *line);
    if (auto* request = std::get_if<BatchRequest>(&judged)) return std::move(*request);
    if (const auto* wrong = std::get_if<BatchLineError>(&judged))
      write_line(batch, {reason_of(*wrong), false, line->bytes}, error_line(*wrong));
  }
  return std::nullopt;
}

std::string header(const http::Response& response, const std::string& name) {
  const auto it = response.headers.find(name);
  return it == response.headers.end() ? "" : it->second;
}

/// Retry-After in whole seconds, bounded; else `otherwise`.
Millis pause_for(const http::Response& response, Millis otherwise) {
  const std::string text = header(response, "retry-after");
  uint32_t seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return otherwise;
  return std::min(kRetryAfterMax, Millis(uint64_t{seconds} * 1000));
}

void count_usage(Batch& batch, const std::string& body) {
  const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("usage") || !parsed["usage"].is_object()) return;
  const auto at = [&](const char* key) {
    const json& usage = parsed["usage"];
    return usage.contains(key) && usage[key].is_number_unsigned() ? usage[key].get<uint64_t>() : 0;
  };
  const std::lock_guard lock(batch.mutex);
  batch.totals.prompt_tokens += at("prompt_tokens");
  batch.totals.completion_tokens += at("completion_tokens");
}

bool reachable_now(const HostPort& address) {
  http::ClientRequest probe;
  probe.target = "/health";
  probe.timeout = Millis(5000);
  return http::fetch(address, probe).has_value();
}

/// One request until it has its answer: sends, and sends again while the service is busy or away.
class Sender {
 public:
  Sender(Batch& batch, const BatchRequest& request)
      : batch_(batch),
        request_(request),
        pause_(batch.options.retry_base),
        busy_until_(Deadline::after(batch.options.busy_timeout)) {}

  void run() {
    http::ClientRequest call;
    call.method = "POST";
    call.target = request_.url;
    call.body = request_.body;
    call.timeout = batch_.options.request_timeout;
    while (!batch_.stopping()) {
      auto response = http::fetch(batch_.service.api, call);
      const bool again = response ? answered(*response) : broken(response.error());
      if (!again) return;
      const std::lock_guard lock(batch_.mutex);
      ++batch_.totals.retries;
    }
  }

 private:
  /// True: send again.
  bool answered(const http::Response& response) {
    const bool busy = response.status == 429 || response.status == 503;
    if (busy && !busy_until_.passed()) return batch_.pause(pause_for(response, next_pause()));
    const bool good = response.status == 200;
    if (good) count_usage(batch_, response.body);
    write_line(
        batch_, {good ? "" : reason(error_of(response).message), true, request_.bytes},
        answer_line(request_, response.status, header(response, "x-request-id"), response.body));
    return false;
  }

  bool broken(const Error& error) {
    if (error.code != Code::kUnavailable) {
      give_up(code_name(error.code), error.message);
      return false;
    }
    if (reachable_now(batch_.service.api)) {
      lost_since_.reset();
      if (++broken_ < kBrokenMax) return batch_.pause(next_pause());
      give_up("connection_lost", error.message + " (" + std::to_string(broken_) + " times)");
      return false;
    }
    // Not this request's fault: wait for the service, and give up the run, not the request.
    if (!lost_since_) lost_since_ = Clock::now();
    if (Clock::now() - *lost_since_ < batch_.options.lost_timeout)
      return batch_.pause(next_pause());
    batch_.fail(error);
    return false;
  }

  void give_up(const std::string& code, const std::string& why) {
    write_line(batch_, {reason(why), true, request_.bytes},
               error_line({request_.line, request_.custom_id, code, why}));
  }

  std::string reason(const std::string& why) const {
    return reason_of({request_.line, request_.custom_id, "", why});
  }

  Millis next_pause() {
    const Millis now = pause_;
    pause_ = std::min(kPauseMax, pause_ * 2);
    return now;
  }

  Batch& batch_;
  const BatchRequest& request_;
  Millis pause_;
  Deadline busy_until_;
  int broken_ = 0;
  std::optional<TimePoint> lost_since_;
};

void send_all(const std::shared_ptr<Batch>& batch) {
  while (auto request = next_request(*batch)) {
    {
      const std::lock_guard lock(batch->mutex);
      ++batch->counts.in_flight;
      batch->changed.notify_all();
    }
    Sender(*batch, *request).run();
    const std::lock_guard lock(batch->mutex);
    --batch->counts.in_flight;
  }
  const std::lock_guard lock(batch->mutex);
  --batch->threads;
  batch->changed.notify_all();
}

Result<void> check_options(const BatchOptions& options) {
  if (!std::ifstream(options.input)) return not_found(options.input + ": " + std::strerror(errno));
  if (options.max_inflight < 1 || options.max_inflight > kInflightMax)
    return invalid("--max-inflight is " + std::to_string(options.max_inflight) +
                   ", allowed: 1 to " + std::to_string(kInflightMax));
  if (options.resume && options.overwrite)
    return invalid("--resume and --overwrite exclude each other");
  std::error_code ignored;
  if (std::filesystem::equivalent(options.input, options.output, ignored))
    return invalid("input and output are the same file: " + options.input);
  const bool exists = std::filesystem::exists(options.output, ignored);
  if (exists && !options.resume && !options.overwrite)
    return invalid(options.output + " exists: --resume goes on with it, --overwrite starts anew");
  return {};
}

/// Opens both files and counts what is to do.
Result<std::shared_ptr<Batch>> open_batch(const Service& service, const BatchOptions& options,
                                          const StopFlag& stop) {
  auto batch = std::make_shared<Batch>();
  batch->service = service;
  batch->options = options;
  batch->stop = stop;
  const BatchSize size = EBB_TRY(measure_batch(options.input));
  batch->counts.total = size.lines;
  batch->counts.work_left = size.bytes;
  batch->input.open(options.input, std::ios::binary);
  batch->reader.emplace(batch->input);
  if (options.resume) batch->done_before = EBB_TRY(resume_output(options.output));
  batch->output.open(options.output,
                     std::ios::binary | (options.resume ? std::ios::app : std::ios::trunc));
  if (!batch->output) return invalid(options.output + ": " + std::strerror(errno));
  return batch;
}

Result<void> write_summary(Batch& batch, double seconds, int exit) {
  if (batch.options.summary.empty()) return {};
  const ProgressCounts& c = batch.counts;
  const json summary{{"apiVersion", "ebb/v1"},
                     {"kind", "BatchSummary"},
                     {"total", c.total},
                     {"skipped", c.skipped},
                     {"succeeded", c.succeeded},
                     {"failed", c.failed},
                     {"retries", batch.totals.retries},
                     {"prompt_tokens", batch.totals.prompt_tokens},
                     {"completion_tokens", batch.totals.completion_tokens},
                     {"seconds", seconds},
                     {"exit_code", exit}};
  std::ofstream file(batch.options.summary, std::ios::trunc);
  file << summary.dump(2) << std::endl;
  if (!file) return invalid(batch.options.summary + ": " + std::strerror(errno));
  return {};
}

/// Shows progress until all threads are done or the run is to end.
void watch(Batch& batch, Progress& progress) {
  std::unique_lock lock(batch.mutex);
  while (batch.threads > 0 && !batch.fatal && !batch.stop->load()) {
    progress.update(batch.counts, Clock::now());
    batch.changed.wait_for(lock, Millis(100));
  }
  batch.closed = true;
  batch.changed.notify_all();
}

int outcome(const Terminal& terminal, Batch& batch, Progress& progress) {
  const std::string resume = "; go on with: ebbctl batch run -i " + batch.options.input + " -o " +
                             batch.options.output + " --resume";
  if (batch.fatal) {
    progress.note("ebbctl: " + printable(batch.fatal->message) + resume);
    return batch.fatal->code == Code::kUnavailable ? kCannotConnect : kFailed;
  }
  if (batch.threads > 0 || batch.stop->load()) {
    terminal.err << "interrupted" << resume << std::endl;
    return kInterrupted;
  }
  if (batch.counts.failed == 0) return kOk;
  for (const std::string& reason : batch.reasons) terminal.err << printable(reason) << "\n";
  if (batch.counts.failed > batch.reasons.size())
    terminal.err << "and " << batch.counts.failed - batch.reasons.size() << " more; see "
                 << batch.options.output << "\n";
  terminal.err << std::flush;
  return kPartial;
}

}  // namespace

int run_batch(const Terminal& terminal, const Service& service, const BatchOptions& options,
              const StopFlag& stop) {
  // 1. Can it be done, and is anybody there? Before the output is touched.
  auto checked = check_options(options);
  if (!checked) return report(terminal, checked.error());
  if (!reachable_now(service.api))
    return report(terminal, unavailable("cannot connect to " + service.api.text() +
                                        "; is the cluster up? (ebbctl up -c FILE)"));
  auto opened = open_batch(service, options, stop);
  if (!opened) return report(terminal, opened.error());
  const std::shared_ptr<Batch> batch = *opened;
  // 2. Send.
  const TimePoint start = Clock::now();
  Progress progress(terminal.err, options.progress, terminal.err_is_tty, start);
  const auto threads =
      static_cast<unsigned>(std::min<uint64_t>(options.max_inflight, batch->counts.total));
  batch->threads = threads;
  std::vector<std::thread> senders;
  for (unsigned i = 0; i < threads; ++i) senders.emplace_back([batch] { send_all(batch); });
  watch(*batch, progress);
  // 3. Done, or left: a request under way cannot be called back, so its thread is let go.
  std::unique_lock lock(batch->mutex);
  const bool all_done = batch->threads == 0;
  progress.finish(batch->counts, Clock::now());
  const int exit = outcome(terminal, *batch, progress);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  auto summary = write_summary(*batch, seconds, exit);
  lock.unlock();
  for (std::thread& sender : senders) all_done ? sender.join() : sender.detach();
  if (!summary) return report(terminal, summary.error());
  return exit;
}

}  // namespace ebb::ctl
