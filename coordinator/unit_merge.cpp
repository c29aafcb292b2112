#include "coordinator/unit_merge.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace ebb::coordinator {
namespace {

/// Runs of both, cut so that a run of the result lies in one run of each, with the farther place.
std::vector<control::PlaceRun> farther(const std::vector<control::PlaceRun>& a,
                                       const std::vector<control::PlaceRun>& b) {
  std::vector<control::PlaceRun> merged;
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    const uint64_t end_a = uint64_t{a[i].begin} + a[i].count;
    const uint64_t end_b = uint64_t{b[j].begin} + b[j].count;
    const Position begin = std::max(a[i].begin, b[j].begin);
    const uint64_t end = std::min(end_a, end_b);
    if (begin < end) {
      const auto place = std::max(a[i].place, b[j].place);
      const bool exact = a[i].exact && b[j].exact;
      const auto count = static_cast<uint32_t>(end - begin);
      const bool extends = !merged.empty() && merged.back().place == place &&
                           merged.back().exact == exact &&
                           merged.back().begin + merged.back().count == begin;
      if (extends) {
        merged.back().count += count;
      } else {
        merged.push_back({begin, count, place, exact});
      }
    }
    if (end_a <= end) ++i;
    if (end_b <= end) ++j;
  }
  return merged;
}

void add_sequence(const control::SequenceResult& more, uint32_t row_bytes_per_block,
                  std::map<SeqId, SequenceOutcome>& sequences) {
  const bool first = !sequences.contains(more.seq);
  SequenceOutcome& outcome = sequences[more.seq];
  outcome.device_bytes_max += more.counters.device_blocks_max * row_bytes_per_block;
  if (first) {
    // The lowest rank that has it: rank 0, unless it failed there.
    outcome.result = more;
    return;
  }
  add(more.counters, outcome.result.counters);
  // A set of the whole layer is the same on every rank; a head's is known to its rank alone.
  for (const control::SelectionTrace& trace : more.trace) {
    if (trace.scope != control::SetScope::kLayer) outcome.result.trace.push_back(trace);
  }
}

}  // namespace

void add(const control::SequenceCounters& more, control::SequenceCounters& sum) {
  sum.released_records += more.released_records;
  sum.restored_host_records += more.restored_host_records;
  sum.restored_ssd_records += more.restored_ssd_records;
  sum.restored_bytes += more.restored_bytes;
  sum.selected_tokens += more.selected_tokens;
  sum.hot_hits += more.hot_hits;
  // Not of a rank: every one of them rebuilds the same tokens.
  sum.rebuilt_tokens = std::max(sum.rebuilt_tokens, more.rebuilt_tokens);
  sum.device_blocks += more.device_blocks;
  sum.device_blocks_max += more.device_blocks_max;
}

control::SequenceMap merge_maps(const std::vector<control::SequenceMap>& maps) {
  EBB_CHECK(!maps.empty());
  control::SequenceMap merged = maps.front();
  for (size_t rank = 1; rank < maps.size(); ++rank) {
    add(maps[rank].counters, merged.counters);
    merged.length = std::min(merged.length, maps[rank].length);
    for (size_t band = 0; band < std::min(merged.bands.size(), maps[rank].bands.size()); ++band) {
      merged.bands[band].runs = farther(merged.bands[band].runs, maps[rank].bands[band].runs);
      merged.bands[band].hot |= maps[rank].bands[band].hot;
    }
  }
  return merged;
}

UnitOutcome merge_results(const models::KvLayout& layout,
                          const std::vector<control::UnitResult>& results) {
  EBB_CHECK(!results.empty());
  std::map<SeqId, SequenceOutcome> sequences;
  std::map<SeqId, control::UnitFailure> failures;
  std::map<SeqId, std::vector<control::SequenceMap>> maps;
  UnitOutcome outcome;
  for (uint32_t rank = 0; rank < results.size(); ++rank) {
    const auto& result = results[rank];
    const uint32_t block_bytes = layout.granule_tokens * layout.row_bytes(rank);
    for (const auto& sequence : result.sequences) add_sequence(sequence, block_bytes, sequences);
    for (const auto& failure : result.failures) {
      const std::string where = "rank " + std::to_string(rank);
      failures.try_emplace(failure.seq, failure.seq, with_context(where, failure.error));
    }
    for (const auto& map : result.maps) maps[map.seq].push_back(map);
    outcome.arena_blocks_used = std::max(outcome.arena_blocks_used, result.arena_blocks_used);
    outcome.arena_blocks_max = std::max(outcome.arena_blocks_max, result.arena_blocks_max);
  }
  for (auto& [seq, sequence] : sequences) outcome.sequences.push_back(std::move(sequence));
  for (auto& [seq, failure] : failures) outcome.failures.push_back(std::move(failure));
  for (auto& [seq, of_ranks] : maps) outcome.maps.push_back(merge_maps(of_ranks));
  return outcome;
}

}  // namespace ebb::coordinator
