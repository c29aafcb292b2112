// What operators see of a running cluster, as JSON with stable keys (docs and ebbctl rely on them).
// Read-only.
#pragma once

#include <string>
#include <vector>

#include "coordinator/engine.h"

namespace ebb::coordinator {

/// Kind "Status": groups, ranks, arena, stores and their tiers.
std::string status_json(const EngineStatus& status);
/// Kind "SequenceList", in the given order.
std::string sequences_json(const std::vector<SequenceInfo>& sequences);
/// Kind "KvMap": where each token's KV lives, by band. `layers` is half-open.
std::string kv_map_json(const control::SequenceMap& map);
/// Kind "GranuleList": one page of what a store keeps. `heads` is half-open.
std::string granules_json(const control::GranulePage& page);

}  // namespace ebb::coordinator
