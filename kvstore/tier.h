// What every place that keeps granules promises; tests/kvstore/tier_conformance_test.cpp holds all
// of them to it. A tier knows bytes and room. It does not know who needs a granule, nor which one
// should go: placement does.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kvstore/granule.h"
#include "kvstore/requests.h"

namespace ebb::kvstore {

struct TierUsage {
  uint64_t capacity_bytes = 0;  ///< of what room is asked for: bodies with the tier's own slack
  uint64_t used_bytes = 0;      ///< the same measure
  uint64_t disk_bytes = 0;      ///< blocks on disk and buffers not yet there; 0 in memory tiers
  uint64_t granules = 0;
  bool writable = true;
  std::string note;  ///< why not writable
};

/// What a read found. A record counts as present only when its head, checksum, key and position
/// agree.
struct ReadOutcome {
  uint32_t present = 0;
  uint32_t corrupt = 0;
};

/// One granule for one batch.
struct TierItem {
  GranuleInfo info;
  std::span<const std::byte> body;
};

/// Thread: as the implementation says. Granules never change: put of a key that is there keeps the
/// old bytes or replaces them by equal ones.
class Tier {
 public:
  virtual ~Tier() = default;
  virtual TierKind kind() const = 0;
  /// All of the items, or none. Errors: kExhausted (no room: make some, or it is not writable),
  /// kInvalid (a body that this tier can never hold: names the limit), kUnavailable (the medium
  /// failed).
  virtual Result<void> put(std::span<const TierItem> items) = 0;
  /// Copies the asked-for records, in order of their bits, into `out` (item.asked_bytes()), each at
  /// its own place, and verifies each copy. Errors: kNotFound; kCorrupt when not even the granule's
  /// frame can be read.
  virtual Result<ReadOutcome> read(const GetItem& item, std::span<std::byte> out) = 0;
  virtual bool contains(const GranuleKey& key) const = 0;
  /// No effect on a key that is not there.
  virtual void remove(std::span<const GranuleKey> keys) = 0;
  /// What a body of this size takes of the capacity.
  virtual uint64_t charge(uint64_t body_bytes) const = 0;
  virtual TierUsage usage() const = 0;
};

/// Verifies the records of `item.bitmap`, which lie in `frames` in order of their bits.
ReadOutcome verify_frames(const GetItem& item, std::span<const std::byte> frames);
/// Copies the records of `item.bitmap` out of a whole body, side by side in order of their bits.
void copy_frames(const GetItem& item, std::span<const std::byte> body, std::span<std::byte> out);
/// All records of a granule.
GetItem whole(const GranuleInfo& info);

}  // namespace ebb::kvstore
