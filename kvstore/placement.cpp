#include "kvstore/placement.h"

#include <unordered_set>

namespace ebb::kvstore {
namespace {

/// What is left of the SSD's room while a decision grows.
class SsdRoom {
 public:
  SsdRoom(const PlacementState& state) : state_(state), free_(state.ssd_free) {}

  /// Finds room for `candidate`; drops older unheld granules into `moves` where that is needed.
  /// False (and nothing changed) when there is none.
  bool take(const Candidate& candidate, std::vector<Move>& moves) {
    if (!state_.ssd_usable) return false;
    uint64_t gained = 0;
    size_t end = next_;
    for (; free_ + gained < candidate.ssd_charge && end < state_.ssd_unheld.size(); ++end) {
      const Candidate& victim = state_.ssd_unheld[end];
      // Cache gives way to what is held; among the unheld, the one used longer ago goes.
      if (!candidate.held && victim.last_use > candidate.last_use) break;
      if (victim.key != candidate.key) gained += victim.ssd_charge;
    }
    if (free_ + gained < candidate.ssd_charge) return false;
    for (; next_ < end; ++next_) {
      const Candidate& victim = state_.ssd_unheld[next_];
      if (victim.key == candidate.key) continue;
      moves.push_back({MoveKind::kDropSsd, victim.key, victim.ssd_charge});
      dropped_.insert(victim.key);
    }
    free_ = free_ + gained - candidate.ssd_charge;
    return true;
  }
  bool dropped(const GranuleKey& key) const { return dropped_.contains(key); }

 private:
  const PlacementState& state_;
  uint64_t free_;
  size_t next_ = 0;  ///< first of ssd_unheld that was not dropped
  std::unordered_set<GranuleKey> dropped_;
};

}  // namespace

Decision make_host_room(const PlacementState& state, uint64_t needed, uint64_t batch_bytes) {
  Decision decision;
  SsdRoom room(state);
  std::unordered_set<GranuleKey> seen;
  uint64_t copied = 0;
  const auto consider = [&](const Candidate& candidate) {
    if (!seen.insert(candidate.key).second) return;
    Move move{MoveKind::kForgetHost, candidate.key, candidate.host_charge};
    if (!candidate.on_ssd || room.dropped(candidate.key)) {
      if (copied < batch_bytes && room.take(candidate, decision.moves)) {
        move.kind = MoveKind::kDemote;
        copied += candidate.ssd_charge;
      } else if (!candidate.held && copied < batch_bytes) {
        move.kind = MoveKind::kDropHost;
      } else {
        return;
      }
    }
    decision.moves.push_back(move);
    decision.host_freed += candidate.host_charge;
  };
  for (const Candidate& candidate : state.host_oldest) {
    if (decision.host_freed >= needed) return decision;
    consider(candidate);
  }
  for (const Candidate& candidate : state.host_unheld) {
    if (decision.host_freed >= needed) return decision;
    consider(candidate);
  }
  return decision;
}

Decision copy_to_ssd(const PlacementState& state, std::span<const Candidate> candidates,
                     uint64_t batch_bytes) {
  Decision decision;
  SsdRoom room(state);
  uint64_t copied = 0;
  for (const Candidate& candidate : candidates) {
    if (copied >= batch_bytes || !room.take(candidate, decision.moves)) break;
    decision.moves.push_back({MoveKind::kCopy, candidate.key, candidate.ssd_charge});
    copied += candidate.ssd_charge;
  }
  return decision;
}

Decision make_ssd_room(const PlacementState& state, uint64_t needed) {
  Decision decision;
  uint64_t gained = 0;
  for (const Candidate& victim : state.ssd_unheld) {
    if (gained >= needed) break;
    decision.moves.push_back({MoveKind::kDropSsd, victim.key, victim.ssd_charge});
    gained += victim.ssd_charge;
  }
  return decision;
}

}  // namespace ebb::kvstore
