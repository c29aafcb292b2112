// Where every token of a sequence is, for people who look at it: on the device, in which tier of
// the store, or gone.
#include <algorithm>

#include "base/wait.h"
#include "worker/kv_mover.h"

namespace ebb::worker {

using kvstore::GranuleKey;

namespace {

// A map is for people: it must not hold up decoding when a store is silent.
constexpr Millis kStatDeadline{1000};

/// The pieces of `runs`, each wholly exact in the band's layers or not at all.
std::vector<control::PlaceRun> split_by_exactness(const std::vector<control::PlaceRun>& runs,
                                                  const Exactness& exactness, uint32_t layers_end) {
  std::vector<control::PlaceRun> pieces;
  for (const control::PlaceRun& run : runs) {
    const Position end = run.begin + run.count;
    for (Position at = run.begin; at < end;) {
      const TokenRange same = exactness.run_at(at);
      const bool exact = exactness.layers_of(at) >= layers_end;
      const Position stop = std::min(end, same.end);
      const bool goes_on = !pieces.empty() && at > run.begin && pieces.back().exact == exact;
      if (goes_on) {
        pieces.back().count += stop - at;
      } else {
        pieces.push_back({at, stop - at, run.place, exact});
      }
      at = stop;
    }
  }
  return pieces;
}

/// A ring holds its first tokens and its last ones; what was between is gone for good.
std::vector<control::PlaceRun> ring_runs(const BandResidency& residency, Position length) {
  const auto [kept_end, ring_begin] = residency.ring_gap();
  if (ring_begin <= kept_end) return {{0, length, control::Place::kDevice}};
  std::vector<control::PlaceRun> runs;
  if (kept_end > 0) runs.push_back({0, kept_end, control::Place::kDevice});
  runs.push_back({kept_end, ring_begin - kept_end, control::Place::kForgotten});
  runs.push_back({ring_begin, length - ring_begin, control::Place::kDevice});
  return runs;
}

/// What a pool of chosen rows does not hold is gone; its token ids are there.
std::vector<control::PlaceRun> chosen_runs(const BandResidency& residency, Position length) {
  std::vector<control::PlaceRun> runs;
  for (Position p = 0; p < length; ++p) {
    const bool here = residency.slot(p) != kNoSlot;
    const auto place = here ? control::Place::kDevice : control::Place::kForgotten;
    if (runs.empty() || runs.back().place != place) runs.push_back({p, 0, place});
    ++runs.back().count;
  }
  return runs;
}

}  // namespace

/// Places of released rows, as far as the store answers.
void KvMover::find_released(Sequence& sequence, Places& places) const {
  const uint32_t g = layout_.granule_tokens;
  std::vector<GranuleKey> keys;
  std::vector<std::pair<uint32_t, Position>> asked;  // band, first position
  for (uint32_t band = 0; band < places.size(); ++band) {
    const BandResidency& residency = sequence.kv->residency(band);
    if (!residency.hot()) continue;
    places[band].assign(sequence.length, control::Place::kDevice);
    for (Position p = 0; p < sequence.length; ++p) {
      if (residency.slot(p) != kNoSlot) continue;
      places[band][p] = control::Place::kMissing;
      const std::pair<uint32_t, Position> granule{band, p / g * g};
      if (!asked.empty() && asked.back() == granule) continue;
      asked.push_back(granule);
      keys.push_back(key(sequence, band, granule.second));
    }
  }
  if (keys.empty() || client_ == nullptr || !client_->connected()) return;
  const auto stats = wait_for<std::vector<kvstore::StatItem>>(
      [&](auto done) { client_->stat(keys, Deadline::after(kStatDeadline), done); });
  for (size_t i = 0; stats && i < stats->size(); ++i) {
    const auto tier = (*stats)[i].tier;
    if (tier == kvstore::TierKind::kNone) continue;
    const auto [band, first] = asked[i];
    for (Position p = first; p < std::min(first + g, sequence.length); ++p) {
      if (places[band][p] != control::Place::kMissing) continue;
      places[band][p] =
          tier == kvstore::TierKind::kHost ? control::Place::kHost : control::Place::kSsd;
    }
  }
}

std::vector<control::BandMap> KvMover::describe(Sequence& sequence) {
  Places places(layout_.bands.size());
  find_released(sequence, places);
  std::vector<control::BandMap> maps(places.size());
  for (uint32_t band = 0; band < maps.size(); ++band) {
    const BandResidency& residency = sequence.kv->residency(band);
    control::BandMap& map = maps[band];
    map.band = static_cast<uint16_t>(band);
    map.layers = layout_.bands[band];
    map.record_bytes = map.layers.size() * layout_.row_bytes_all();
    map.hot = residency.hot();
    if (sequence.length == 0) continue;
    std::vector<control::PlaceRun> runs;
    if (residency.ring()) runs = ring_runs(residency, sequence.length);
    if (residency.chosen()) runs = chosen_runs(residency, sequence.length);
    if (!map.hot && !residency.ring() && !residency.chosen())
      runs = {{0, sequence.length, control::Place::kDevice}};
    for (Position p = 0; p < places[band].size(); ++p) {
      if (runs.empty() || runs.back().place != places[band][p]) {
        runs.push_back({p, 0, places[band][p]});
      }
      ++runs.back().count;
    }
    map.runs = split_by_exactness(runs, sequence.exactness, map.layers.end);
  }
  return maps;
}

}  // namespace ebb::worker
