// What probes and scrapers ask of a store: /metrics, /health, /ready, /version. No KV bytes pass
// here.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/metrics.h"
#include "transport/http/server.h"

namespace ebb::kvstore {

struct StoreProbes {
  std::atomic<bool> ready{false};  ///< listening, and not stopping
  std::function<bool()> healthy;   ///< its threads come round; set before the server starts
  std::function<void()> refresh;   ///< before metrics are read
};

/// Both must outlive the server.
http::Handler store_http_handler(StoreProbes& probes, Metrics& metrics);
const char* store_version();

}  // namespace ebb::kvstore
