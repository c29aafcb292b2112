#include "worker/residency.h"

#include <algorithm>
#include <utility>

namespace ebb::worker {

Result<uint32_t> BandResidency::evict_one(uint64_t step) {
  uint32_t victim = kNoSlot;
  for (uint32_t s = 0; s < capacity(); ++s) {
    const Position p = position_of_[s];
    if (p == kNoPosition || p >= sealed_to_ || last_used_[s] >= step) continue;
    if (victim == kNoSlot || last_used_[s] < last_used_[victim] ||
        (last_used_[s] == last_used_[victim] && p < position_of_[victim])) {
      victim = s;
    }
  }
  if (victim == kNoSlot) {
    return exhausted("hot pool of " + std::to_string(capacity()) +
                     " rows: every row is in use or not yet in the store");
  }
  slot_of_[position_of_[victim]] = kNoSlot;
  position_of_[victim] = kNoPosition;
  return victim;
}

void BandResidency::make_ring(uint32_t kept, uint32_t ring) {
  EBB_CHECK(length_ == 0 && !hot_ && ring > 0);
  kept_ = kept;
  ring_ = ring;
}

Result<uint32_t> BandResidency::place(Position position, uint64_t step) {
  EBB_CHECK(position <= length_);
  if (!pooled()) {
    length_ = std::max(length_, position + 1);
    return ring_ > 0 ? ring_slot(position) : position;
  }
  if (position < slot_of_.size() && slot_of_[position] != kNoSlot) {  // a replayed step
    last_used_[slot_of_[position]] = step;
    return slot_of_[position];
  }
  uint32_t slot;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    slot = EBB_TRY(evict_one(step));
  }
  slot_of_.resize(std::max<size_t>(slot_of_.size(), position + 1), kNoSlot);
  give(position, slot, step);
  length_ = std::max(length_, position + 1);
  return slot;
}

std::vector<Position> BandResidency::touch(std::span<const Position> set, uint64_t step) {
  std::vector<Position> missing;
  if (!pooled()) return missing;
  for (Position p : set) {
    const uint32_t s = slot(p);
    if (s == kNoSlot) {
      missing.push_back(p);
    } else {
      last_used_[s] = step;
    }
  }
  return missing;
}

Result<void> BandResidency::admit(std::span<const Position> positions, uint64_t step) {
  EBB_CHECK(pooled());
  if (positions.size() > free_.size()) {
    const size_t wanted = positions.size() - free_.size();
    std::vector<uint32_t> candidates;
    for (uint32_t s = 0; s < capacity(); ++s) {
      const Position p = position_of_[s];
      if (p != kNoPosition && p < sealed_to_ && last_used_[s] < step) candidates.push_back(s);
    }
    if (candidates.size() < wanted) {
      return exhausted("hot pool of " + std::to_string(capacity()) +
                       " rows: " + std::to_string(wanted) + " more wanted, " +
                       std::to_string(candidates.size()) + " may give way");
    }
    const auto older = [&](uint32_t a, uint32_t b) {
      if (last_used_[a] != last_used_[b]) return last_used_[a] < last_used_[b];
      return position_of_[a] < position_of_[b];
    };
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(wanted - 1),
                     candidates.end(), older);
    candidates.resize(wanted);
    for (uint32_t s : candidates) {
      slot_of_[position_of_[s]] = kNoSlot;
      position_of_[s] = kNoPosition;
      free_.push_back(s);
    }
  }
  for (Position p : positions) {
    EBB_CHECK(p < slot_of_.size() && slot_of_[p] == kNoSlot);
    const uint32_t s = free_.back();
    free_.pop_back();
    give(p, s, step);
  }
  return {};
}

void BandResidency::give(Position position, uint32_t slot, uint64_t step) {
  slot_of_[position] = slot;
  position_of_[slot] = position;
  last_used_[slot] = step;
  if (names_given_) given_.push_back(position);
}

std::optional<std::vector<Position>> BandResidency::take_given() {
  EBB_CHECK(pooled());
  if (!std::exchange(names_given_, true)) return {};
  std::sort(given_.begin(), given_.end());
  given_.erase(std::unique(given_.begin(), given_.end()), given_.end());
  return std::exchange(given_, {});
}

void BandResidency::forget(std::span<const Position> positions) {
  for (Position p : positions) {
    const uint32_t s = slot(p);
    if (s == kNoSlot) continue;
    slot_of_[p] = kNoSlot;
    position_of_[s] = kNoPosition;
    free_.push_back(s);
  }
}

uint32_t BandResidency::forget_others(std::span<const Position> keep) {
  EBB_CHECK(chosen_);
  std::vector<Position> others;
  for (const Position p : position_of_) {
    const bool stays = p == kNoPosition || std::binary_search(keep.begin(), keep.end(), p);
    if (!stays) others.push_back(p);
  }
  forget(others);
  return static_cast<uint32_t>(others.size());
}

std::vector<BandResidency::Move> BandResidency::shrink(uint32_t capacity,
                                                       std::span<const Position> keep,
                                                       uint64_t step) {
  EBB_CHECK(!pooled() && ring_ == 0 && keep.size() <= capacity);
  hot_ = true;
  slot_of_.assign(length_, kNoSlot);
  position_of_.assign(capacity, kNoPosition);
  last_used_.assign(capacity, 0);
  std::vector<Position> movers;
  for (Position p : keep) {
    EBB_CHECK(p < length_);
    if (p >= capacity) {
      movers.push_back(p);
      continue;
    }
    slot_of_[p] = p;  // slot == position so far
    position_of_[p] = p;
    last_used_[p] = step;
  }
  for (uint32_t s = capacity; s > 0; --s) {
    if (position_of_[s - 1] == kNoPosition) free_.push_back(s - 1);
  }
  std::vector<Move> moves;
  for (Position p : movers) {
    const uint32_t to = free_.back();
    free_.pop_back();
    moves.push_back({p, to});
    slot_of_[p] = to;
    position_of_[to] = p;
    last_used_[to] = step;
  }
  return moves;
}

std::vector<BandResidency::Move> BandResidency::choose(uint32_t capacity,
                                                       std::span<const Position> keep,
                                                       uint64_t step) {
  auto moves = shrink(capacity, keep, step);
  hot_ = false;
  chosen_ = true;
  return moves;
}

}  // namespace ebb::worker
