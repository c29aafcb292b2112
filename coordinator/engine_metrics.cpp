#include "coordinator/engine_metrics.h"

namespace ebb::coordinator {
namespace {

const std::vector<double> kUnitSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                          0.25,  0.5,    1,     2.5,  5,     10,   30};
constexpr const char* kKindNames[] = {"open", "bulk", "release", "decode", "close"};
constexpr const char* kRestored = "KV records brought back to the device, all ranks.";

double as_double(uint64_t value) { return static_cast<double>(value); }

}  // namespace

EngineMetrics::EngineMetrics(Metrics& metrics, const std::vector<std::string>& groups)
    : released_(metrics.counter("ebb_kv_released_records_total",
                                "KV records whose device copy was given up, all ranks.")),
      restored_host_(
          metrics.counter("ebb_kv_restored_records_total", kRestored, {{"tier", "host"}})),
      restored_ssd_(metrics.counter("ebb_kv_restored_records_total", kRestored, {{"tier", "ssd"}})),
      restored_bytes_(metrics.counter("ebb_kv_restored_bytes_total",
                                      "Bytes of KV brought back to the device, all ranks.")),
      selected_(metrics.counter("ebb_selected_tokens_total",
                                "Tokens selected, over steps, anchors and ranks.")),
      hot_hits_(metrics.counter("ebb_kv_hot_hits_total",
                                "Selected KV records found on the device, all ranks.")),
      rebuilt_(metrics.counter("ebb_rebuilt_tokens_total",
                               "Released tokens that came back for a step (policy adore).")),
      published_(metrics.counter("ebb_selection_merged_sets_total",
                                 "Selection sets merged and handed to all ranks.")) {
  for (const std::string& name : groups) {
    const MetricLabels labels{{"group", name}};
    groups_.push_back(
        {metrics.gauge("ebb_group_ready", "1 when the group decodes.", labels),
         metrics.gauge("ebb_group_epoch", "Number of the group's incarnation.", labels),
         metrics.gauge("ebb_device_kv_capacity_bytes", "Size of the device arena.", labels),
         metrics.gauge("ebb_device_kv_used_bytes", "Arena bytes in use.", labels),
         metrics.gauge("ebb_device_kv_used_bytes_max",
                       "Most arena bytes in use since the group formed.", labels),
         metrics.gauge("ebb_device_kv_reserved_bytes", "Arena bytes promised to sequences.",
                       labels),
         metrics.counter("ebb_group_lost_total", "Incarnations that ended by a failure.", labels)});
  }
  for (const char* kind : kKindNames) {
    const MetricLabels labels{{"kind", kind}};
    kinds_.push_back(
        {metrics.counter("ebb_units_total", "Units of work finished by all ranks.", labels),
         metrics.histogram("ebb_unit_duration_seconds",
                           "Time from sending a unit to the last rank's answer.", kUnitSeconds,
                           labels)});
  }
}

void EngineMetrics::unit_finished(control::UnitKind kind, double seconds) {
  OfKind& of_kind = kinds_[static_cast<size_t>(kind)];
  of_kind.units.add();
  of_kind.seconds.observe(seconds);
}

void EngineMetrics::sequence_ended(const control::SequenceCounters& counters) {
  released_.add(as_double(counters.released_records));
  restored_host_.add(as_double(counters.restored_host_records));
  restored_ssd_.add(as_double(counters.restored_ssd_records));
  restored_bytes_.add(as_double(counters.restored_bytes));
  selected_.add(as_double(counters.selected_tokens));
  hot_hits_.add(as_double(counters.hot_hits));
  rebuilt_.add(as_double(counters.rebuilt_tokens));
}

void EngineMetrics::group_lost(size_t group) { groups_[group].lost.add(); }

void EngineMetrics::group_state(size_t group, const GroupState& state, uint64_t reserved_blocks) {
  OfGroup& of_group = groups_[group];
  const double block = as_double(state.block_bytes_all);
  of_group.ready.set(state.ready ? 1 : 0);
  of_group.epoch.set(as_double(state.epoch));
  of_group.arena_capacity.set(as_double(state.arena_blocks) * block);
  of_group.arena_used.set(as_double(state.arena_blocks_used) * block);
  of_group.arena_max.set(as_double(state.arena_blocks_max) * block);
  of_group.arena_reserved.set(as_double(reserved_blocks) * block);
}

void EngineMetrics::published(uint64_t total) {
  published_.add(as_double(total) - published_.value());
}

}  // namespace ebb::coordinator
