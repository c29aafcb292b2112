#include "kvstore/store_metrics.h"

#include "kvstore/store.h"

namespace ebb::kvstore {
namespace {

Counter& lookups(Metrics& metrics, const char* tier, const char* result) {
  return metrics.counter("ebb_kv_lookups_total",
                         "Granules that were asked for, by where they were found.",
                         {{"tier", tier}, {"result", result}});
}
Counter& failures(Metrics& metrics, const char* tier, const char* where) {
  return metrics.counter("ebb_kv_checksum_failures_total",
                         "Records that failed a check, by tier and place.",
                         {{"tier", tier}, {"where", where}});
}
Counter& evictions(Metrics& metrics, const char* tier, const char* reason) {
  return metrics.counter("ebb_kv_evictions_total", "Granules that left a tier to make room.",
                         {{"tier", tier}, {"reason", reason}});
}
Counter& transfers(Metrics& metrics, const char* from, const char* to) {
  return metrics.counter("ebb_kv_transfer_bytes_total",
                         "Bytes of granules and records moved between places.",
                         {{"from", from}, {"to", to}});
}

}  // namespace

StoreMetrics::StoreMetrics(Metrics& metrics)
    : host_hit(lookups(metrics, "host", "hit")),
      ssd_hit(lookups(metrics, "ssd", "hit")),
      miss(lookups(metrics, "none", "miss")),
      host_corrupt_get(failures(metrics, "host", "get")),
      host_corrupt_move(failures(metrics, "host", "move")),
      ssd_corrupt_get(failures(metrics, "ssd", "get")),
      wire_corrupt_put(failures(metrics, "wire", "put")),
      host_demoted(evictions(metrics, "host", "demoted")),
      host_dropped(evictions(metrics, "host", "dropped")),
      ssd_dropped(evictions(metrics, "ssd", "dropped")),
      put_bytes(transfers(metrics, "client", "host")),
      get_host_bytes(transfers(metrics, "host", "client")),
      get_ssd_bytes(transfers(metrics, "ssd", "client")),
      demoted_bytes(transfers(metrics, "host", "ssd")),
      promoted_bytes(transfers(metrics, "ssd", "host")),
      metrics_(metrics) {}

void StoreMetrics::show(const StoreSnapshot& snapshot) {
  const auto show_tier = [&](const char* tier, const TierUsage& usage, uint64_t held) {
    const char* help = "Bytes by tier: capacity, used, and on disk.";
    metrics_.gauge("ebb_kv_bytes", help, {{"tier", tier}, {"kind", "capacity"}})
        .set(static_cast<double>(usage.capacity_bytes));
    metrics_.gauge("ebb_kv_bytes", help, {{"tier", tier}, {"kind", "used"}})
        .set(static_cast<double>(usage.used_bytes));
    metrics_.gauge("ebb_kv_bytes", help, {{"tier", tier}, {"kind", "disk"}})
        .set(static_cast<double>(usage.disk_bytes));
    metrics_.gauge("ebb_kv_granules", "Granules by tier.", {{"tier", tier}})
        .set(static_cast<double>(usage.granules));
    metrics_
        .gauge("ebb_kv_held_granules", "Granules by tier that may not be evicted.",
               {{"tier", tier}})
        .set(static_cast<double>(held));
    metrics_.gauge("ebb_kv_writable", "1 while the tier admits.", {{"tier", tier}})
        .set(usage.writable ? 1 : 0);
  };
  show_tier("host", snapshot.host, snapshot.host_held);
  if (snapshot.has_ssd) show_tier("ssd", snapshot.ssd, snapshot.ssd_held);
}

}  // namespace ebb::kvstore
