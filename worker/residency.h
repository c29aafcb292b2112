// Which tokens of one (sequence, band) have their rows on the device, and in which slots. Pure: no
// I/O, no device.
//
// A band is `all` (slot == position) until it is released; then it is a hot pool of a fixed number
// of slots, in which any slot holds any position. Rows of the unsealed tail, and rows whose granule
// the store has not accepted, are pinned: they exist nowhere else.
//
// Or it is a ring from the start: the first tokens keep their slots, the others share a fixed
// number of slots behind them, and a new row takes the place of the oldest of these, which is gone
// for good. What it holds, and what it costs, do not grow with the number of positions.
//
// Or it becomes a pool of chosen rows: a hot pool without a store. Its policy says which rows go,
// for good; none gives way by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::worker {

constexpr uint32_t kNoSlot = 0xffffffffu;
constexpr Position kNoPosition = 0xffffffffu;

class BandResidency {
 public:
  bool hot() const { return hot_; }
  bool ring() const { return ring_ > 0; }
  bool chosen() const { return chosen_; }
  /// A ring does not hold the positions of this range: [end of those that stay, oldest of the
  /// others).
  TokenRange ring_gap() const { return {kept_, length_ > ring_ ? length_ - ring_ : 0}; }
  /// Before the first position: the first `kept` stay, the others share `ring` slots.
  void make_ring(uint32_t kept, uint32_t ring);
  /// Slots that exist (hot pools).
  uint32_t capacity() const { return static_cast<uint32_t>(position_of_.size()); }

  /// Slot of a position, kNoSlot when its row is not on the device.
  uint32_t slot(Position position) const {
    if (ring_ > 0) return ring_holds(position) ? ring_slot(position) : kNoSlot;
    if (!pooled()) return position < length_ ? position : kNoSlot;
    return position < slot_of_.size() ? slot_of_[position] : kNoSlot;
  }

  /// Whether any slot may hold any position: then map() says which.
  bool has_map() const { return pooled(); }
  /// Slot of each position that ever had one; kNoSlot: it has none now.
  std::span<const uint32_t> map() const { return slot_of_; }
  /// What a copy of the map has to be told: positions that were given a slot since the last call,
  /// each once. Nothing: the copy is to be made of the whole map. Those that lost their slot are
  /// not named: nobody looks them up.
  std::optional<std::vector<Position>> take_given();

  /// Makes room for a new position at the end and returns its slot. In a hot pool the least
  /// recently selected row that the store has, and that step `step` does not use, gives way.
  /// Errors: kExhausted (every slot is pinned or in use).
  Result<uint32_t> place(Position position, uint64_t step);

  /// Marks rows as used by step `step`; returns the positions of `set` that have no slot,
  /// ascending.
  std::vector<Position> touch(std::span<const Position> set, uint64_t step);
  /// A slot for each of `positions` (none of which has one), least recently selected rows give way;
  /// ascending by age, then position. All or nothing. Errors: kExhausted.
  Result<void> admit(std::span<const Position> positions, uint64_t step);
  /// Takes back slots that admit() gave out, when their rows never arrived.
  void forget(std::span<const Position> positions);
  /// Every row of a pool of chosen rows but those of `keep` (ascending); returns how many went.
  uint32_t forget_others(std::span<const Position> keep);

  /// Positions below this are in the store (accepted).
  Position sealed_to() const { return sealed_to_; }
  void set_sealed_to(Position position) { sealed_to_ = position; }
  /// Rows that exist: [0, length) have been placed.
  Position length() const { return length_; }

  struct Move {
    uint32_t from;  ///< slot
    uint32_t to;
  };
  /// Turns `all` into a hot pool of `capacity` slots that keeps `keep` (ascending, at most capacity
  /// positions, all of [sealed_to, length) among them). Returns the copies that bring rows from
  /// slots >= capacity to free ones.
  std::vector<Move> shrink(uint32_t capacity, std::span<const Position> keep, uint64_t step);
  /// The same into a pool of chosen rows.
  std::vector<Move> choose(uint32_t capacity, std::span<const Position> keep, uint64_t step);

 private:
  bool pooled() const { return hot_ || chosen_; }
  void give(Position position, uint32_t slot, uint64_t step);
  bool ring_holds(Position position) const {
    return position < length_ && (position < kept_ || length_ - position <= ring_);
  }
  uint32_t ring_slot(Position position) const {
    return position < kept_ ? position : kept_ + (position - kept_) % ring_;
  }
  Result<uint32_t> evict_one(uint64_t step);
  bool hot_ = false;
  bool chosen_ = false;
  uint32_t kept_ = 0;
  uint32_t ring_ = 0;  ///< slots that later positions share; 0: no ring
  Position length_ = 0;
  Position sealed_to_ = 0;
  std::vector<uint32_t> slot_of_;      ///< by position
  std::vector<Position> position_of_;  ///< by slot; kNoPosition: free
  std::vector<uint64_t> last_used_;    ///< by slot: step of last selection
  std::vector<uint32_t> free_;
  bool names_given_ = false;     ///< somebody has a copy of the map
  std::vector<Position> given_;  ///< since take_given()
};

}  // namespace ebb::worker
