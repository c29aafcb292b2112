// Where every granule is, who holds it and when it was last used. Pure: no tiers, no I/O, no clock;
// belongs to one thread. Time is a count of uses.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "kvstore/granule.h"
#include "kvstore/placement.h"

namespace ebb::kvstore {

/// A sequence, as one node of one incarnation of a group holds it. Ranks hold for themselves: one
/// that closes a sequence early must not take it from another that still reads.
struct Holder {
  uint64_t session = 0;  ///< numbered by the sessions: node, group and epoch
  SeqId sequence;
  friend bool operator==(const Holder&, const Holder&) = default;
};

struct IndexEntry {
  GranuleInfo info;
  bool on_host = false;
  bool on_ssd = false;
  bool moving = false;      ///< a copy to the SSD is under way
  uint64_t generation = 0;  ///< tells an entry from an earlier one of the same key
  uint64_t last_use = 0;
  uint64_t host_charge = 0;  ///< what it takes of each tier's capacity
  uint64_t ssd_charge = 0;
  std::vector<Holder> holders;
  bool held() const { return !holders.empty(); }
  bool is_private() const { return info.key.kind != 0; }
};

class Index {
 public:
  IndexEntry* find(const GranuleKey& key);
  /// The key must be new. It is in no tier yet.
  IndexEntry& add(const GranuleInfo& info, uint64_t host_charge, uint64_t ssd_charge);
  void erase(const GranuleKey& key);

  void touch(IndexEntry& entry);
  void set_on_host(IndexEntry& entry, bool there);
  void set_on_ssd(IndexEntry& entry, bool there);
  void set_moving(IndexEntry& entry, bool moving) { entry.moving = moving; }
  /// False when the bound on holds is reached; true also when it was held already.
  bool hold(IndexEntry& entry, const Holder& holder);
  /// Ends all holds; returns what nobody holds any more.
  std::vector<GranuleKey> release(const Holder& holder);
  std::vector<GranuleKey> release_session(uint64_t session);

  /// Up to `limit` granules of a tier, least recently used first, that are not moving.
  std::vector<Candidate> oldest(TierKind tier, size_t limit) const;
  /// The same, of those that nobody holds.
  std::vector<Candidate> oldest_unheld(TierKind tier, size_t limit) const;
  /// Granules in memory that have no copy on the SSD, least recently used first.
  std::vector<Candidate> oldest_without_copy(size_t limit) const;

  /// All keys of the same list, those that are moving too.
  std::vector<GranuleKey> keys_without_copy() const;

  /// Up to `limit` entries in the order of their keys, the first being the one after `after` (null:
  /// the first of all). They live until the index changes.
  std::vector<const IndexEntry*> by_key(const GranuleKey* after, size_t limit) const;
  /// The same, of those that somebody holds for `sequence`. Time: also the number of holders.
  std::vector<const IndexEntry*> held_by_key(SeqId sequence, const GranuleKey* after,
                                             size_t limit) const;

  uint64_t size() const { return entries_.size(); }
  uint64_t held_in(TierKind tier) const { return held_[tier == TierKind::kSsd]; }
  /// Charge of granules on the SSD.
  uint64_t ssd_bytes() const { return ssd_bytes_; }
  /// Charge of granules in memory that also are on the SSD: what can be freed at once.
  uint64_t clean_host_bytes() const { return clean_host_bytes_; }

  static constexpr uint64_t kHoldsMax = 8'000'000;

 private:
  enum List { kHost, kHostUnheld, kHostNoCopy, kSsd, kSsdUnheld, kLists };
  using Uses = std::map<uint64_t, IndexEntry*>;  ///< by last use; uses are unique
  void enlist(IndexEntry& entry);
  void delist(IndexEntry& entry);
  void release_one(IndexEntry& entry, const Holder& holder, std::vector<GranuleKey>& unheld);
  static std::vector<Candidate> take(const Uses& uses, size_t limit);

  struct HolderHash {
    size_t operator()(const Holder& h) const {
      return h.sequence.value * 0x9e3779b97f4a7c15ull ^ h.session;
    }
  };
  std::unordered_map<GranuleKey, std::unique_ptr<IndexEntry>> entries_;
  struct KeyLess {
    using is_transparent = void;
    static const GranuleKey& key(const IndexEntry* entry) { return entry->info.key; }
    static const GranuleKey& key(const GranuleKey& own) { return own; }
    bool operator()(const auto& a, const auto& b) const { return key(a) < key(b); }
  };
  using ByKey = std::set<IndexEntry*, KeyLess>;
  static void take_after(const ByKey& all, const GranuleKey* after, size_t limit,
                         std::vector<const IndexEntry*>& taken);
  std::unordered_map<Holder, ByKey, HolderHash> holds_;
  ByKey by_key_;  ///< all entries: the table above finds them, this has them in order
  Uses lists_[kLists];
  uint64_t held_[2] = {0, 0};
  uint64_t uses_ = 0;
  uint64_t generations_ = 0;
  uint64_t holds_count_ = 0;
  uint64_t clean_host_bytes_ = 0;
  uint64_t ssd_bytes_ = 0;
};

}  // namespace ebb::kvstore
