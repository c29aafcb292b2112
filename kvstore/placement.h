// Decides what moves when room is needed. Pure: usage and candidates in, moves out; the store
// carries them out.
//
// Order of preference for a granule that must leave memory: forget it where the SSD has a copy;
// copy it to the SSD, where unheld granules that were used longer ago make room; drop it, if nobody
// holds it. A held granule is never lost: when only such are left, the decision says that nothing
// can go.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvstore/granule.h"

namespace ebb::kvstore {

/// A granule that could move. Charges are in the tiers' own measure.
struct Candidate {
  GranuleKey key;
  uint64_t last_use = 0;
  uint64_t host_charge = 0;
  uint64_t ssd_charge = 0;
  bool on_host = false;
  bool on_ssd = false;
  bool held = false;
};

enum class MoveKind : uint8_t {
  kForgetHost,  ///< its copy on the SSD stays
  kDemote,      ///< copy to the SSD, then forget in memory
  kCopy,        ///< copy to the SSD, stays in memory too
  kDropHost,    ///< gone from memory, and with it altogether
  kDropSsd,     ///< gone from the SSD (and altogether, unless it is in memory too)
};
struct Move {
  MoveKind kind = MoveKind::kForgetHost;
  GranuleKey key;
  uint64_t charge = 0;  ///< of the tier that it leaves, or enters (kCopy)
};

struct PlacementState {
  bool ssd_usable = false;
  uint64_t ssd_free = 0;                   ///< of the capacity
  std::span<const Candidate> host_oldest;  ///< least recently used first
  std::span<const Candidate> host_unheld;  ///< the same, only unheld ones
  std::span<const Candidate> ssd_unheld;   ///< the same, on the SSD
};

struct Decision {
  std::vector<Move> moves;  ///< drops on the SSD stand before what needs their room
  uint64_t host_freed = 0;  ///< once all of them are done
};

/// Moves that free at least `needed` bytes of memory, or as much as can be freed; at most about
/// `batch_bytes` of copies.
Decision make_host_room(const PlacementState& state, uint64_t needed, uint64_t batch_bytes);

/// Copies of `candidates` (least recently used first, without a copy on the SSD) to the SSD, up to
/// `batch_bytes`, making room there as above. Stops at the first that does not fit: fewer moves
/// than candidates and less than a batch means that the SSD is full.
Decision copy_to_ssd(const PlacementState& state, std::span<const Candidate> candidates,
                     uint64_t batch_bytes);

/// When the SSD itself says that it has no room (its quota counts real blocks): the oldest unheld
/// ones up to `needed`.
Decision make_ssd_room(const PlacementState& state, uint64_t needed);

}  // namespace ebb::kvstore
