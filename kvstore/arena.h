// One bounded piece of memory, cut into slabs; a slab holds slots of one size class. Pure
// bookkeeping over the memory that it owns: knows nothing of granules.
//
// Why slabs: granules of a layout have a handful of sizes, come and go in any order, and must never
// cost more memory than was allowed. A class wastes at most one slab: when another class needs
// room, compact() empties the least used slab of a class that has a slab's worth of free slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace ebb::kvstore {

class Arena {
 public:
  /// Names a slot; stays valid until freed or moved by compact().
  struct Slot {
    uint32_t slab = 0;
    uint32_t index = 0;
    friend bool operator==(const Slot&, const Slot&) = default;
  };
  /// Maps `bytes` (rounded down to whole slabs). Errors: kInvalid (too small), kExhausted (the
  /// system refuses).
  static Result<std::unique_ptr<Arena>> map(uint64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Nothing when neither a free slot, nor a free slab, nor compaction helps.
  std::optional<Slot> allocate(uint64_t bytes);
  bool has_room(uint64_t bytes) const;
  void free(Slot slot);
  std::span<std::byte> bytes(Slot slot);

  /// Called when a slot moves, with the old and the new name; the bytes have moved already.
  void on_move(std::function<void(Slot from, Slot to)> callback) { on_move_ = std::move(callback); }

  uint64_t capacity() const { return slabs_.size() * slab_bytes_; }
  /// Bytes of taken slots, rounded up to their class.
  uint64_t used() const { return used_; }
  uint64_t slab_bytes() const { return slab_bytes_; }
  uint64_t slot_bytes(uint64_t bytes) const;

 private:
  struct Slab {
    uint32_t class_index = 0;
    uint32_t taken = 0;
    std::vector<uint32_t> free;  ///< slot indices; meaningful while the slab belongs to a class
    std::vector<bool> is_taken;
  };
  struct SizeClass {
    uint64_t slot_bytes = 0;
    uint32_t per_slab = 0;
    uint64_t free_slots = 0;
    std::vector<uint32_t> slabs;
  };

  Arena(std::byte* memory, uint64_t slab_bytes, uint32_t slabs);
  uint32_t class_of(uint64_t bytes);
  const SizeClass* find_class(uint64_t slot_bytes) const;
  Slot take_slot(SizeClass& size_class);
  void add_slab(uint32_t class_index);
  void release_slab(uint32_t slab);
  /// The class that can give up a slab; null when none can.
  SizeClass* compactable();
  void compact(SizeClass& size_class);

  std::byte* memory_;
  uint64_t slab_bytes_;
  uint64_t used_ = 0;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slabs_;
  std::vector<SizeClass> classes_;
  std::function<void(Slot, Slot)> on_move_;
};

}  // namespace ebb::kvstore
