#include "worker/slot_lists.h"

#include <algorithm>

namespace ebb::worker {
namespace {

constexpr size_t kChunkEntries = 64 << 10;
constexpr size_t kAlignEntries = 16;

}  // namespace

SlotLists::SlotLists(kernels::Backend& backend)
    : backend_(backend), host_reachable_(backend.device->info().host_reachable) {}

void SlotLists::begin_step() {
  make();
  chunk_ = used_ = 0;
}

Result<uint32_t*> SlotLists::room(size_t entries) {
  const size_t wanted =
      (std::max<size_t>(entries, 1) + kAlignEntries - 1) / kAlignEntries * kAlignEntries;
  while (chunk_ < chunks_.size() && (used_ + wanted) * sizeof(uint32_t) > chunks_[chunk_].size()) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t bytes = std::max(wanted, kChunkEntries) * sizeof(uint32_t);
    auto fresh = backend_.device->allocate(bytes, kernels::MemoryKind::kDevice);
    if (!fresh) return with_context("lists of slots", std::move(fresh).error());
    chunks_.push_back(*std::move(fresh));
  }
  auto* const at = static_cast<uint32_t*>(chunks_[chunk_].data()) + used_;
  used_ += wanted;
  return at;
}

Result<const uint32_t*> SlotLists::add(SequenceKv& kv, uint32_t band,
                                       std::span<const Position> positions) {
  const uint32_t* d_map = nullptr;
  const BandResidency& residency = kv.residency(band);
  EBB_CHECK(!residency.ring());
  if (residency.has_map() && host_reachable_) {
    d_map = residency.map().data();
  } else if (residency.has_map()) {
    SequenceKv::MapChanges changes;
    d_map = EBB_TRY(kv.device_map(band, *backend_.device, changes));
    if (!changes.positions.empty()) {
      held_.push_back(std::move(changes.positions));
      const std::span<const uint32_t> where = held_.back();
      held_.push_back(std::move(changes.slots));
      changes_.push_back({changes.d_map, where, held_.back()});
    }
  }
  uint32_t* const d_slots = EBB_TRY(room(positions.size()));
  lists_.push_back({positions, d_map, d_slots});
  return static_cast<const uint32_t*>(d_slots);
}

Result<const uint32_t*> SlotLists::add_slots(std::span<const uint32_t> slots) {
  uint32_t* const d_slots = EBB_TRY(room(slots.size()));
  lists_.push_back({slots, nullptr, d_slots});
  return static_cast<const uint32_t*>(d_slots);
}

Result<const uint32_t*> SlotLists::add_slots(std::vector<uint32_t>&& slots) {
  held_.push_back(std::move(slots));
  return add_slots(std::span<const uint32_t>(held_.back()));
}

void SlotLists::make() {
  if (!changes_.empty()) backend_.ops->update_maps(changes_);
  if (!lists_.empty()) backend_.ops->make_lists(lists_);
  changes_.clear();
  lists_.clear();
  held_.clear();
}

}  // namespace ebb::worker
