// The engine's metrics, each named once. Counters of requests and tokens belong to the HTTP side.
#pragma once

#include <string>
#include <vector>

#include "base/metrics.h"
#include "coordinator/engine.h"

namespace ebb::coordinator {

class EngineMetrics {
 public:
  EngineMetrics(Metrics& metrics, const std::vector<std::string>& groups);

  void unit_finished(control::UnitKind kind, double seconds);
  /// Counters of a sequence that has ended, of all ranks together.
  void sequence_ended(const control::SequenceCounters& counters);
  void group_lost(size_t group);
  /// What changes slowly, set from time to time.
  void group_state(size_t group, const GroupState& state, uint64_t reserved_blocks);
  void published(uint64_t total);

 private:
  struct OfGroup {
    Gauge& ready;
    Gauge& epoch;
    Gauge& arena_capacity;
    Gauge& arena_used;
    Gauge& arena_max;
    Gauge& arena_reserved;
    Counter& lost;
  };
  struct OfKind {
    Counter& units;
    Histogram& seconds;
  };
  std::vector<OfGroup> groups_;
  std::vector<OfKind> kinds_;  ///< by UnitKind
  Counter& released_;
  Counter& restored_host_;
  Counter& restored_ssd_;
  Counter& restored_bytes_;
  Counter& selected_;
  Counter& hot_hits_;
  Counter& rebuilt_;
  Counter& published_;
};

}  // namespace ebb::coordinator
