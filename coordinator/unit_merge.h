// What all ranks answered to one unit, as one outcome. Pure.
#pragma once

#include <vector>

#include "models/kv_layout.h"
#include "transport/control/messages.h"

namespace ebb::coordinator {

struct SequenceOutcome {
  control::SequenceResult result;  ///< tokens of rank 0, counters of all ranks together
  uint64_t device_bytes_max = 0;   ///< of all ranks together
};

struct UnitOutcome {
  std::vector<SequenceOutcome> sequences;
  std::vector<control::UnitFailure> failures;  ///< one a sequence, the lowest rank's; seq 0 first
  std::vector<control::SequenceMap> maps;
  uint64_t arena_blocks_used = 0;  ///< of the fullest rank
  uint64_t arena_blocks_max = 0;
};

/// `results` by rank, not empty.
UnitOutcome merge_results(const models::KvLayout& layout,
                          const std::vector<control::UnitResult>& results);

/// Maps of the same sequence from every rank, by rank. A token is where the rank that has it
/// farthest away has it.
control::SequenceMap merge_maps(const std::vector<control::SequenceMap>& maps);

/// Field by field.
void add(const control::SequenceCounters& more, control::SequenceCounters& sum);

}  // namespace ebb::coordinator
