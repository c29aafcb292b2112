// What can be asked of a store and what it answers, as plain values: shared by the client, the wire
// and the store.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kvstore/granule.h"

namespace ebb::kvstore {

/// A granule to be stored: `body` is its framed records (GranuleInfo::body_bytes()). In a client's
/// put it must stay valid until `done` ran.
struct PutItem {
  GranuleInfo info;
  std::span<const std::byte> body;
};
struct PutReply {
  uint32_t accepted = 0;  ///< granules now in a tier (or already there: first writer wins)
  uint32_t already_there = 0;
};

/// Records of one granule: bit i of `bitmap` asks for record i.
struct GetItem {
  GranuleKey key;
  Position first = 0;  ///< position of record 0
  uint32_t payload_bytes = 0;
  uint32_t bitmap = 0;
  uint32_t asked() const { return static_cast<uint32_t>(std::popcount(bitmap)); }
  uint64_t asked_bytes() const { return asked() * framed_bytes(payload_bytes); }
};
/// Per item, what arrived and passed every check. A bit that was asked for and is not in `present`
/// is a miss.
struct GotItem {
  uint32_t present = 0;
  TierKind from = TierKind::kNone;
  uint64_t at = 0;  ///< where in a client's destination its first record lies
};
/// Frames lie in the destination in the order of the items and of their bits. In a client's get
/// each asked-for record is at its own place whether present or not; where the client does not read
/// them (Arrival) the present records of an item are side by side.
struct GetReply {
  std::vector<GotItem> items;
  uint32_t corrupt = 0;  ///< records that failed a check (here or in the store)
};
uint64_t get_destination_bytes(std::span<const GetItem> items);

struct StatItem {
  TierKind tier = TierKind::kNone;
  bool durable = false;  ///< survives kill -9 of the store
};

/// Granules of one page of a list.
constexpr uint32_t kListLimitMax = 1024;

/// Where a list goes on: after `last`. Made by the store (kvstore/listing.h) for the list that was
/// asked for; it needs nothing that the store remembers, so it outlives a restart.
struct ListCursor {
  GranuleKey last;
  uint32_t check = 0;
  friend bool operator==(const ListCursor&, const ListCursor&) = default;
};
struct ListQuery {
  std::optional<SeqId> sequence =
      std::nullopt;  ///< only what some node holds for it; none: everything
  std::optional<ListCursor> after = std::nullopt;
  uint32_t limit = kListLimitMax;  ///< 1 to kListLimitMax
};
struct ListItem {
  GranuleInfo info;
  bool on_host = false;
  bool on_ssd = false;
  bool durable = false;
  uint32_t holders = 0;  ///< sequences of nodes that keep it from being evicted
};
/// Ascending by key. Over all pages of a list, a granule that is there all the while is in exactly
/// one of them; one that comes or goes meanwhile is in one or none.
struct ListPage {
  std::vector<ListItem> items;
  std::optional<ListCursor> next;  ///< none: this was the last page
};

}  // namespace ebb::kvstore
