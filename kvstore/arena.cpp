#include "kvstore/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/units.h"

namespace ebb::kvstore {
namespace {

constexpr uint64_t kSlabMin = 64 * kKiB;
constexpr uint64_t kSlabMax = 16 * kMiB;  ///< also the largest body that a host tier can hold
/// more: less waste by classes; fewer: less waste at slab ends
constexpr uint64_t kSlabsWanted = 64;

uint64_t slab_bytes_for(uint64_t bytes) {
  return std::clamp(std::bit_floor(bytes / kSlabsWanted), kSlabMin, kSlabMax);
}

}  // namespace

Result<std::unique_ptr<Arena>> Arena::map(uint64_t bytes) {
  const uint64_t slab = slab_bytes_for(bytes);
  const uint64_t slabs = bytes / slab;
  if (slabs == 0) {
    return invalid("host_size: " + format_bytes(bytes) + ", at least " + format_bytes(kSlabMin));
  }
  if (slabs > UINT32_MAX) return invalid("host_size: " + format_bytes(bytes) + " is out of range");
  void* memory = mmap(nullptr, slabs * slab, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return exhausted("host_size: cannot map " + format_bytes(slabs * slab) + ": " +
                     std::strerror(errno));
  }
  // Fewer page faults and TLB misses where the system gives 2 MiB pages; without them all works the
  // same.
  madvise(memory, slabs * slab, MADV_HUGEPAGE);
  return std::unique_ptr<Arena>(
      new Arena(static_cast<std::byte*>(memory), slab, static_cast<uint32_t>(slabs)));
}

Arena::Arena(std::byte* memory, uint64_t slab_bytes, uint32_t slabs)
    : memory_(memory), slab_bytes_(slab_bytes), slabs_(slabs) {
  for (uint32_t slab = slabs; slab-- > 0;) free_slabs_.push_back(slab);
}

Arena::~Arena() { munmap(memory_, capacity()); }

/// Sixteen classes to a doubling: at most 1/16 of a slot is slack.
uint64_t Arena::slot_bytes(uint64_t bytes) const {
  const uint64_t step = std::max<uint64_t>(64, std::bit_floor(std::max<uint64_t>(bytes, 1)) / 16);
  return std::min((bytes + step - 1) / step * step, std::max(bytes, slab_bytes_));
}

const Arena::SizeClass* Arena::find_class(uint64_t slot) const {
  const auto found = std::find_if(classes_.begin(), classes_.end(),
                                  [&](const SizeClass& c) { return c.slot_bytes == slot; });
  return found == classes_.end() ? nullptr : &*found;
}

uint32_t Arena::class_of(uint64_t bytes) {
  const uint64_t slot = slot_bytes(bytes);
  if (const SizeClass* known = find_class(slot))
    return static_cast<uint32_t>(known - classes_.data());
  classes_.push_back({slot, static_cast<uint32_t>(slab_bytes_ / slot), 0, {}});
  return static_cast<uint32_t>(classes_.size() - 1);
}

bool Arena::has_room(uint64_t bytes) const {
  if (bytes == 0 || bytes > slab_bytes_) return false;
  const SizeClass* known = find_class(slot_bytes(bytes));
  return (known != nullptr && known->free_slots > 0) || !free_slabs_.empty() ||
         const_cast<Arena*>(this)->compactable() != nullptr;
}

std::optional<Arena::Slot> Arena::allocate(uint64_t bytes) {
  if (bytes == 0 || bytes > slab_bytes_) return std::nullopt;
  const uint32_t index = class_of(bytes);
  if (classes_[index].free_slots == 0) {
    if (free_slabs_.empty()) {
      SizeClass* donor = compactable();
      if (donor == nullptr) return std::nullopt;
      compact(*donor);
    }
    add_slab(index);
  }
  const Slot slot = take_slot(classes_[index]);
  used_ += classes_[index].slot_bytes;
  return slot;
}

/// From the fullest slab that has room, so that the others empty.
Arena::Slot Arena::take_slot(SizeClass& size_class) {
  uint32_t best = UINT32_MAX;
  for (uint32_t slab : size_class.slabs) {
    if (slabs_[slab].free.empty()) continue;
    if (best == UINT32_MAX || slabs_[slab].taken > slabs_[best].taken) best = slab;
  }
  EBB_CHECK(best != UINT32_MAX);
  Slab& slab = slabs_[best];
  const uint32_t index = slab.free.back();
  slab.free.pop_back();
  slab.is_taken[index] = true;
  ++slab.taken;
  --size_class.free_slots;
  return {best, index};
}

void Arena::free(Slot slot) {
  Slab& slab = slabs_[slot.slab];
  SizeClass& size_class = classes_[slab.class_index];
  EBB_CHECK(slab.is_taken[slot.index]);
  slab.is_taken[slot.index] = false;
  slab.free.push_back(slot.index);
  --slab.taken;
  ++size_class.free_slots;
  used_ -= size_class.slot_bytes;
  if (slab.taken == 0) release_slab(slot.slab);
}

std::span<std::byte> Arena::bytes(Slot slot) {
  const uint64_t size = classes_[slabs_[slot.slab].class_index].slot_bytes;
  return {memory_ + slot.slab * slab_bytes_ + slot.index * size, size};
}

void Arena::add_slab(uint32_t class_index) {
  SizeClass& size_class = classes_[class_index];
  const uint32_t index = free_slabs_.back();
  free_slabs_.pop_back();
  Slab& slab = slabs_[index];
  slab.class_index = class_index;
  slab.taken = 0;
  slab.is_taken.assign(size_class.per_slab, false);
  slab.free.clear();
  for (uint32_t i = size_class.per_slab; i-- > 0;) slab.free.push_back(i);
  size_class.slabs.push_back(index);
  size_class.free_slots += size_class.per_slab;
}

void Arena::release_slab(uint32_t index) {
  SizeClass& size_class = classes_[slabs_[index].class_index];
  std::erase(size_class.slabs, index);
  size_class.free_slots -= size_class.per_slab;
  free_slabs_.push_back(index);
}

Arena::SizeClass* Arena::compactable() {
  for (SizeClass& size_class : classes_) {
    if (size_class.free_slots >= size_class.per_slab && size_class.slabs.size() > 1)
      return &size_class;
  }
  return nullptr;
}

void Arena::compact(SizeClass& size_class) {
  const uint32_t emptiest =
      *std::min_element(size_class.slabs.begin(), size_class.slabs.end(),
                        [&](uint32_t a, uint32_t b) { return slabs_[a].taken < slabs_[b].taken; });
  // Its free slots must not be handed out while it empties.
  Slab& slab = slabs_[emptiest];
  size_class.free_slots -= slab.free.size();
  slab.free.clear();
  for (uint32_t index = 0; index < size_class.per_slab; ++index) {
    if (!slab.is_taken[index]) continue;
    const Slot from{emptiest, index};
    const Slot to = take_slot(size_class);
    std::memcpy(bytes(to).data(), bytes(from).data(), size_class.slot_bytes);
    if (on_move_) on_move_(from, to);
  }
  size_class.free_slots += size_class.per_slab;  // what release_slab takes back
  slab.taken = 0;
  release_slab(emptiest);
}

}  // namespace ebb::kvstore
