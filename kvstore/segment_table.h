// Which granule lies in which segment of the SSD tier, and how much of each segment is still alive.
// Pure.
//
// A segment is a run of granules written one after the other and deleted as a whole: that is how
// space comes back at once, instead of whenever a storage engine compacts. A granule that is
// removed, replaced or moved leaves garbage.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kvstore/granule.h"

namespace ebb::kvstore {

class SegmentTable {
 public:
  struct Entry {
    GranuleInfo info;
    uint64_t segment = 0;
    uint64_t bytes = 0;    ///< what it counts for
    bool durable = false;  ///< some copy of it would survive the process
  };

  /// Replaces an older entry of the same key, whose bytes become garbage of its segment.
  void insert(const Entry& entry);
  /// False when it was not there.
  bool erase(const GranuleKey& key);
  const Entry* find(const GranuleKey& key) const;
  /// Everything that was written before a flush is durable after it.
  void mark_durable(const std::vector<GranuleKey>& keys);

  uint64_t live_bytes() const { return live_bytes_; }
  uint64_t size() const { return entries_.size(); }
  uint64_t live_in(uint64_t segment) const;

  /// A closed segment without anything alive.
  std::optional<uint64_t> dead() const;
  /// The closed segment with the smallest live share, if that is at most `share`.
  std::optional<uint64_t> sparsest(double share) const;
  std::optional<uint64_t> oldest_closed() const;
  /// Nothing more is written to it. `on_disk`: what it takes there, when that is known better than
  /// by counting.
  void close(uint64_t segment, uint64_t on_disk = 0);
  /// Its entries, if any are left, are forgotten with it and returned.
  std::vector<GranuleKey> forget(uint64_t segment);
  bool has_segment(uint64_t segment) const { return segments_.contains(segment); }
  /// As insert, for an entry found in a closed segment: counts as alive, not as written again.
  void adopt(const Entry& entry);

  std::vector<GranuleInfo> oldest_first() const;

 private:
  struct Segment {
    uint64_t written = 0;
    uint64_t live = 0;
    bool closed = false;
  };
  void leave(const Entry& entry);

  std::unordered_map<GranuleKey, Entry> entries_;
  std::map<uint64_t, Segment> segments_;
  uint64_t live_bytes_ = 0;
};

}  // namespace ebb::kvstore
