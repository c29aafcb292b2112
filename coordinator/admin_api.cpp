#include "coordinator/admin_api.h"

#include <nlohmann/json.hpp>

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;

Json kind(const char* name) { return Json{{"apiVersion", "ebb/v1"}, {"kind", name}}; }

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json group_json(const GroupState& group) {
  Json ranks = Json::array();
  for (const RankState& rank : group.ranks) {
    ranks.push_back(Json{{"rank", rank.rank},
                         {"joined", rank.joined},
                         {"node", rank.node},
                         {"pid", rank.pid},
                         {"backend", rank.backend}});
  }
  return Json{{"name", group.name},
              {"epoch", group.epoch},
              {"state", group.state},
              {"ready", group.ready},
              {"ranks", std::move(ranks)},
              {"arena_bytes", group.arena_blocks * group.block_bytes_all},
              {"arena_used_bytes", group.arena_blocks_used * group.block_bytes_all},
              {"arena_max_bytes", group.arena_blocks_max * group.block_bytes_all}};
}

Json tier_json(const control::TierStatus& tier) {
  return Json{{"tier", tier.tier},
              {"capacity_bytes", tier.capacity_bytes},
              {"used_bytes", tier.used_bytes},
              {"granules", tier.granules},
              {"held_granules", tier.held_granules},
              {"evictions", tier.evictions},
              {"writable", tier.writable},
              {"note", tier.note}};
}

Json store_json(const StoreState& store) {
  const control::StoreStatus status = store.status.value_or(control::StoreStatus{});
  Json tiers = Json::array();
  for (const control::TierStatus& tier : status.tiers) tiers.push_back(tier_json(tier));
  return Json{
      {"name", store.name},       {"address", store.address},  {"connected", store.connected},
      {"problem", store.problem}, {"tiers", std::move(tiers)}, {"puts", status.puts},
      {"gets", status.gets},      {"misses", status.misses},   {"corrupt", status.corrupt}};
}

const char* place_name(control::Place place) {
  switch (place) {
    case control::Place::kDevice:
      return "device";
    case control::Place::kHost:
      return "host";
    case control::Place::kSsd:
      return "ssd";
    case control::Place::kMissing:
      return "missing";
    case control::Place::kForgotten:
      return "forgotten";
  }
  return "missing";
}

Json band_json(const control::BandMap& band) {
  Json runs = Json::array();
  for (const control::PlaceRun& run : band.runs) {
    runs.push_back(Json{{"begin", run.begin},
                        {"count", run.count},
                        {"place", place_name(run.place)},
                        {"exact", run.exact}});
  }
  return Json{{"band", band.band},
              {"layers", Json::array({band.layers.begin, band.layers.end})},
              {"residency", band.hot ? "hot" : "all"},
              {"record_bytes", band.record_bytes},
              {"runs", std::move(runs)}};
}

}  // namespace

std::string status_json(const EngineStatus& status) {
  Json out = kind("Status");
  out["ready"] = status.ready;
  out["not_ready_because"] = status.not_ready_because;
  out["draining"] = status.draining;
  out["healthy"] = status.healthy;
  out["running"] = status.running;
  out["waiting"] = status.waiting;
  out["groups"] = Json::array();
  for (const GroupState& group : status.groups) out["groups"].push_back(group_json(group));
  out["stores"] = Json::array();
  for (const StoreState& store : status.stores) out["stores"].push_back(store_json(store));
  return dump(out);
}

std::string sequences_json(const std::vector<SequenceInfo>& sequences) {
  Json out = kind("SequenceList");
  out["sequences"] = Json::array();
  for (const SequenceInfo& info : sequences) {
    // Ids as text: 64 bits do not survive programs that read JSON numbers as doubles.
    out["sequences"].push_back(Json{{"seq", std::to_string(info.seq.value)},
                                    {"request_id", info.request_id},
                                    {"state", info.state},
                                    {"policy", info.policy},
                                    {"budget", info.budget},
                                    {"prompt_tokens", info.prompt_tokens},
                                    {"tokens", info.tokens},
                                    {"generated", info.generated},
                                    {"age_seconds", info.age_seconds},
                                    {"error", info.error}});
  }
  return dump(out);
}

std::string kv_map_json(const control::SequenceMap& map) {
  Json out = kind("KvMap");
  out["seq"] = std::to_string(map.seq.value);
  out["length"] = map.length;
  out["policy"] = Json{{"name", control::policy_name(map.policy.kind)},
                       {"budget", map.policy.budget},
                       {"sinks", map.policy.sinks},
                       {"window", map.policy.window}};
  out["bands"] = Json::array();
  for (const control::BandMap& band : map.bands) out["bands"].push_back(band_json(band));
  const control::SequenceCounters& counters = map.counters;
  out["counters"] = Json{{"released_records", counters.released_records},
                         {"restored_host_records", counters.restored_host_records},
                         {"restored_ssd_records", counters.restored_ssd_records},
                         {"restored_bytes", counters.restored_bytes},
                         {"selected_tokens", counters.selected_tokens},
                         {"rebuilt_tokens", counters.rebuilt_tokens},
                         {"hot_hits", counters.hot_hits},
                         {"device_blocks", counters.device_blocks},
                         {"device_blocks_max", counters.device_blocks_max}};
  return dump(out);
}

std::string granules_json(const control::GranulePage& page) {
  Json out = kind("GranuleList");
  out["granules"] = Json::array();
  for (const control::GranuleState& granule : page.granules) {
    Json tiers = Json::array();
    if (granule.on_host) tiers.push_back("host");
    if (granule.on_ssd) tiers.push_back("ssd");
    out["granules"].push_back(Json{{"digest", granule.digest},
                                   {"band", granule.band},
                                   {"heads", Json::array({granule.head_begin, granule.head_end})},
                                   {"private", granule.is_private},
                                   {"first", granule.first},
                                   {"records", granule.records},
                                   {"bytes", granule.bytes},
                                   {"tiers", std::move(tiers)},
                                   {"durable", granule.durable},
                                   {"holders", granule.holders}});
  }
  out["next"] = page.next.empty() ? Json(nullptr) : Json(page.next);
  return dump(out);
}

}  // namespace ebb::coordinator
