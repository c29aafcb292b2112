// A hot buffer that keeps the rows selected last, as a simulation: how many of a step's rows are
// there already. Pure.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

namespace ebb::score {

class LruBuffer {
 public:
  /// `capacity` is 1 or more.
  explicit LruBuffer(uint64_t capacity);
  /// True when `position` was there; it is the most recent one afterwards. The least recent one
  /// gives way.
  bool touch(uint32_t position);
  bool contains(uint32_t position) const { return places_.contains(position); }
  uint64_t size() const { return order_.size(); }

 private:
  uint64_t capacity_;
  std::list<uint32_t> order_;  ///< the most recent one first
  std::unordered_map<uint32_t, std::list<uint32_t>::iterator> places_;
};

struct HitCount {
  uint64_t hits = 0;
  uint64_t reads = 0;
  uint64_t steps = 0;
};

/// Reads of one layer's selections, step after step, against a buffer of `capacity` rows. The first
/// step fills the buffer and is not counted; nor are rows made since the prefill when they are
/// first read (positions from `prefilled` on): they are on the device anyway. Within a step, rows
/// that are there are read before the others are fetched.
HitCount simulate_lru(const std::vector<std::vector<uint32_t>>& steps, uint64_t capacity,
                      uint64_t prefilled);

}  // namespace ebb::score
