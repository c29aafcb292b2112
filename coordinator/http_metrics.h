// The metrics that the HTTP side knows: requests, tokens, latencies.
#pragma once

#include "base/metrics.h"
#include "coordinator/engine.h"

namespace ebb::coordinator {

/// Any thread.
class HttpMetrics {
 public:
  explicit HttpMetrics(Metrics& metrics);

  void prompt_tokens(uint32_t count) { prompt_tokens_.add(count); }
  void first_token(double seconds) { first_token_.observe(seconds); }
  void next_token(double seconds) { next_token_.observe(seconds); }
  void generated_token() { generated_tokens_.add(); }
  /// One sequence's end. `seconds` since the request arrived.
  void finished(FinishReason reason, double seconds, double queue_seconds);
  void failed(double seconds);
  /// Exposition text, with the gauges taken from `status` now.
  std::string text(const EngineStatus& status);

 private:
  Metrics& metrics_;
  Gauge& running_;
  Gauge& waiting_;
  Counter& prompt_tokens_;
  Counter& generated_tokens_;
  Counter& stop_;
  Counter& length_;
  Counter& abort_;
  Counter& error_;
  Histogram& first_token_;
  Histogram& next_token_;
  Histogram& duration_;
  Histogram& queue_;
};

/// "0.1.0"
const char* ebb_version();

}  // namespace ebb::coordinator
