// Granules in memory: one bounded arena. Belongs to one thread.
#pragma once

#include <memory>
#include <unordered_map>

#include "kvstore/arena.h"
#include "kvstore/tier.h"

namespace ebb::kvstore {

class HostTier final : public Tier {
 public:
  /// Errors: kInvalid (too small), kExhausted.
  static Result<std::unique_ptr<HostTier>> make(uint64_t bytes);

  TierKind kind() const override { return TierKind::kHost; }
  Result<void> put(std::span<const TierItem> items) override;
  Result<ReadOutcome> read(const GetItem& item, std::span<std::byte> out) override;
  bool contains(const GranuleKey& key) const override { return granules_.contains(key); }
  void remove(std::span<const GranuleKey> keys) override;
  uint64_t charge(uint64_t body_bytes) const override { return arena_->slot_bytes(body_bytes); }
  TierUsage usage() const override;

  bool has_room(uint64_t body_bytes) const { return arena_->has_room(body_bytes); }
  /// The largest body that can ever be held.
  uint64_t body_max() const { return arena_->slab_bytes(); }

 private:
  struct Held {
    GranuleInfo info;
    Arena::Slot slot;
  };
  explicit HostTier(std::unique_ptr<Arena> arena);
  Result<void> put_one(const TierItem& item);

  std::unique_ptr<Arena> arena_;
  std::unordered_map<GranuleKey, Held> granules_;
  /// by slab and index: who is told when a slot moves
  std::unordered_map<uint64_t, GranuleKey> owners_;
};

}  // namespace ebb::kvstore
