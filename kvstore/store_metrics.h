// The store's counters by name. Kept as references: looking one up takes a lock.
#pragma once

#include "base/metrics.h"
#include "kvstore/granule.h"

namespace ebb::kvstore {

struct StoreSnapshot;

class StoreMetrics {
 public:
  explicit StoreMetrics(Metrics& metrics);

  Counter& host_hit;
  Counter& ssd_hit;
  Counter& miss;
  Counter& host_corrupt_get;
  Counter& host_corrupt_move;
  Counter& ssd_corrupt_get;
  Counter& wire_corrupt_put;
  Counter& host_demoted;
  Counter& host_dropped;
  Counter& ssd_dropped;
  Counter& put_bytes;
  Counter& get_host_bytes;
  Counter& get_ssd_bytes;
  Counter& demoted_bytes;
  Counter& promoted_bytes;

  /// Sets the gauges: bytes, granules.
  void show(const StoreSnapshot& snapshot);

 private:
  Metrics& metrics_;
};

}  // namespace ebb::kvstore
