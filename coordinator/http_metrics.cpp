#include "coordinator/http_metrics.h"

namespace ebb::coordinator {
namespace {

/// Seconds: from a short prompt on a fast device to a long one on a slow machine.
const std::vector<double> kRequestBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                            0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                            20,    40,    80,   160,  640,  2560};
const std::vector<double> kTokenBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                          0.025,  0.05,    0.075,  0.1,   0.15,   0.2,   0.3,
                                          0.4,    0.5,     0.75,   1,     2.5,    5,     10};
constexpr const char* kFinished = "ebb_request_finished_total";
constexpr const char* kFinishedHelp = "Sequences that ended, by reason.";

}  // namespace

HttpMetrics::HttpMetrics(Metrics& metrics)
    : metrics_(metrics),
      running_(metrics.gauge("ebb_requests_running", "Sequences that prefill or decode now.")),
      waiting_(metrics.gauge("ebb_requests_waiting", "Sequences that wait for admission.")),
      prompt_tokens_(metrics.counter("ebb_prompt_tokens_total", "Prompt tokens accepted.")),
      generated_tokens_(metrics.counter("ebb_generated_tokens_total", "Tokens generated.")),
      stop_(metrics.counter(kFinished, kFinishedHelp, {{"reason", "stop"}})),
      length_(metrics.counter(kFinished, kFinishedHelp, {{"reason", "length"}})),
      abort_(metrics.counter(kFinished, kFinishedHelp, {{"reason", "abort"}})),
      error_(metrics.counter(kFinished, kFinishedHelp, {{"reason", "error"}})),
      first_token_(metrics.histogram("ebb_time_to_first_token_seconds",
                                     "From a request's arrival to its first token.",
                                     kRequestBounds)),
      next_token_(metrics.histogram("ebb_inter_token_latency_seconds",
                                    "Between two tokens of one sequence.", kTokenBounds)),
      duration_(metrics.histogram("ebb_request_duration_seconds",
                                  "From a request's arrival to a sequence's end.", kRequestBounds)),
      queue_(metrics.histogram("ebb_queue_duration_seconds", "A sequence's wait for admission.",
                               kRequestBounds)) {
  metrics
      .gauge("ebb_build_info", "Always 1; the labels say what runs.", {{"version", ebb_version()}})
      .set(1);
}

void HttpMetrics::finished(FinishReason reason, double seconds, double queue_seconds) {
  Counter* by_reason[] = {&stop_, &length_, &abort_};
  by_reason[static_cast<int>(reason)]->add();
  duration_.observe(seconds);
  queue_.observe(queue_seconds);
}

void HttpMetrics::failed(double seconds) {
  error_.add();
  duration_.observe(seconds);
}

std::string HttpMetrics::text(const EngineStatus& status) {
  running_.set(status.running);
  waiting_.set(status.waiting);
  return metrics_.text();
}

const char* ebb_version() { return EBB_VERSION; }

}  // namespace ebb::coordinator
