#include "kvstore/host_tier.h"

#include <cstring>

#include "base/fault.h"
#include "base/units.h"

namespace ebb::kvstore {
namespace {

uint64_t packed(Arena::Slot slot) { return uint64_t{slot.slab} << 32 | slot.index; }

}  // namespace

Result<std::unique_ptr<HostTier>> HostTier::make(uint64_t bytes) {
  return std::unique_ptr<HostTier>(new HostTier(EBB_TRY(Arena::map(bytes))));
}

HostTier::HostTier(std::unique_ptr<Arena> arena) : arena_(std::move(arena)) {
  arena_->on_move([this](Arena::Slot from, Arena::Slot to) {
    const auto owner = owners_.find(packed(from));
    EBB_CHECK(owner != owners_.end());
    const GranuleKey key = owner->second;
    owners_.erase(owner);
    owners_[packed(to)] = key;
    granules_.at(key).slot = to;
  });
}

Result<void> HostTier::put(std::span<const TierItem> items) {
  std::vector<GranuleKey> added;  // what to take back: keys that were there before stay
  for (const TierItem& item : items) {
    if (contains(item.info.key)) continue;
    auto stored = put_one(item);
    if (!stored) {
      remove(added);
      return stored;
    }
    added.push_back(item.info.key);
  }
  return {};
}

Result<void> HostTier::put_one(const TierItem& item) {
  EBB_CHECK(item.body.size() == item.info.body_bytes());
  if (item.body.size() > body_max()) {
    return invalid(to_text(item.info.key) + ": body of " + format_bytes(item.body.size()) +
                   ", this host tier holds at most " + format_bytes(body_max()) +
                   " (1/64 of host_size)");
  }
  const auto slot = arena_->allocate(item.body.size());
  if (!slot) return exhausted("host tier: no room for " + format_bytes(item.body.size()));
  const auto bytes = arena_->bytes(*slot);
  std::memcpy(bytes.data(), item.body.data(), item.body.size());
  if (EBB_FAULT("kvstore.host.flip")) bytes[item.body.size() / 2] ^= std::byte{4};
  granules_[item.info.key] = {item.info, *slot};
  owners_[packed(*slot)] = item.info.key;
  return {};
}

Result<ReadOutcome> HostTier::read(const GetItem& item, std::span<std::byte> out) {
  const auto found = granules_.find(item.key);
  if (found == granules_.end()) return not_found(to_text(item.key));
  const GranuleInfo& info = found->second.info;
  if (info.first != item.first || info.payload_bytes != item.payload_bytes)
    return not_found(to_text(item.key));
  EBB_CHECK(out.size() >= item.asked_bytes());

  // The copy is verified, not the arena: what is checked is what is delivered.
  GetItem there = item;
  there.bitmap &= whole(info).bitmap;
  copy_frames(there, arena_->bytes(found->second.slot), out);
  return verify_frames(there, out);
}

void HostTier::remove(std::span<const GranuleKey> keys) {
  for (const GranuleKey& key : keys) {
    const auto found = granules_.find(key);
    if (found == granules_.end()) continue;
    owners_.erase(packed(found->second.slot));
    arena_->free(found->second.slot);
    granules_.erase(found);
  }
}

TierUsage HostTier::usage() const {
  TierUsage usage;
  usage.capacity_bytes = arena_->capacity();
  usage.used_bytes = arena_->used();
  usage.granules = granules_.size();
  return usage;
}

}  // namespace ebb::kvstore
