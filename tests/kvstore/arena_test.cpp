// The arena never gives out more than it has, never the same byte twice, and uses free space
// whatever the sizes.
#include "kvstore/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "base/units.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

TEST(Arena, RefusesToBeTooSmall) { EXPECT_CODE(Arena::map(1000), Code::kInvalid); }

TEST(Arena, NeverMapsMoreThanItMay) {
  for (uint64_t bytes : {64 * kKiB, 1 * kMiB, 3 * kMiB + 17, 100 * kMiB}) {
    auto arena = Arena::map(bytes);
    ASSERT_OK(arena);
    EXPECT_LE((*arena)->capacity(), bytes);
    EXPECT_GT((*arena)->capacity(), bytes - (*arena)->slab_bytes());
  }
}

TEST(Arena, SlackOfASlotIsAtMostASixteenth) {
  auto arena = Arena::map(64 * kMiB);
  ASSERT_OK(arena);
  for (uint64_t bytes = 1024; bytes < (*arena)->slab_bytes(); bytes = bytes * 5 / 4 + 13) {
    EXPECT_GE((*arena)->slot_bytes(bytes), bytes);
    EXPECT_LE((*arena)->slot_bytes(bytes), bytes + bytes / 16 + 64);
  }
}

TEST(Arena, EmptySlabsServeAnotherSize) {
  auto made = Arena::map(1 * kMiB);
  ASSERT_OK(made);
  Arena& arena = **made;
  arena.on_move([](Arena::Slot, Arena::Slot) {});
  std::vector<Arena::Slot> slots;
  while (const auto slot = arena.allocate(4096)) slots.push_back(*slot);
  EXPECT_GT(slots.size(), 200u);
  EXPECT_FALSE(arena.has_room(60 * kKiB));
  // Half of them go, one here and one there: no slab is empty, and yet there is room for a large
  // one.
  size_t kept = 0;
  std::map<std::pair<uint32_t, uint32_t>, bool> gone;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i % 2 == 0)
      arena.free(slots[i]);
    else
      ++kept;
  }
  EXPECT_TRUE(arena.has_room(60 * kKiB));
  size_t large = 0;
  while (arena.allocate(60 * kKiB)) ++large;
  EXPECT_GE(large, 6u);
  EXPECT_LE(arena.used(), arena.capacity());
  EXPECT_GT(kept, 0u);
}

TEST(Arena, BytesStayTheirOwnersThroughRandomUse) {
  auto made = Arena::map(2 * kMiB);
  ASSERT_OK(made);
  Arena& arena = **made;
  struct Owned {
    Arena::Slot slot;
    uint64_t bytes;
  };
  std::map<uint64_t, Owned> owned;  // by id; each slot is filled with its id
  const auto fill = [&](uint64_t id) {
    std::memset(arena.bytes(owned[id].slot).data(), static_cast<int>(id & 0xff), owned[id].bytes);
  };
  const auto intact = [&](uint64_t id) {
    const auto bytes = arena.bytes(owned[id].slot).first(owned[id].bytes);
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](std::byte b) { return b == std::byte(id & 0xff); });
  };
  size_t moved = 0;
  arena.on_move([&](Arena::Slot from, Arena::Slot to) {
    ++moved;
    for (auto& [id, slot] : owned) {
      if (slot.slot == from) {
        slot.slot = to;
        return;
      }
    }
    FAIL() << "a slot moved that nobody owns";
  });
  std::mt19937 random(11);
  const uint64_t sizes[] = {700, 4096, 5000, 16000, 31000};
  for (uint64_t id = 1; id < 6000; ++id) {
    const uint64_t bytes = sizes[(id / 500 + random() % 2) % 5];
    if (random() % 5 < 3) {
      if (const auto slot = arena.allocate(bytes)) {
        owned[id] = {*slot, bytes};
        fill(id);
      } else {
        EXPECT_FALSE(arena.has_room(bytes));
      }
    } else if (!owned.empty()) {
      auto victim = owned.lower_bound(random() % id);
      if (victim == owned.end()) victim = owned.begin();
      ASSERT_TRUE(intact(victim->first));
      arena.free(victim->second.slot);
      owned.erase(victim);
    }
    ASSERT_LE(arena.used(), arena.capacity());
  }
  for (const auto& [id, slot] : owned) EXPECT_TRUE(intact(id));
  EXPECT_GT(moved, 0u);
}

}  // namespace
}  // namespace ebb::kvstore
