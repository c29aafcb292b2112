#include "score/lru.h"

#include <cstddef>
#include <unordered_set>

#include "base/check.h"

namespace ebb::score {

LruBuffer::LruBuffer(uint64_t capacity) : capacity_(capacity) { EBB_CHECK(capacity >= 1); }

bool LruBuffer::touch(uint32_t position) {
  const auto at = places_.find(position);
  if (at != places_.end()) {
    order_.splice(order_.begin(), order_, at->second);
    return true;
  }
  if (order_.size() == capacity_) {
    places_.erase(order_.back());
    order_.pop_back();
  }
  order_.push_front(position);
  places_[position] = order_.begin();
  return false;
}

HitCount simulate_lru(const std::vector<std::vector<uint32_t>>& steps, uint64_t capacity,
                      uint64_t prefilled) {
  LruBuffer buffer(capacity);
  std::unordered_set<uint32_t> made;  // rows of decoded tokens that were read before
  HitCount count;
  for (size_t step = 0; step < steps.size(); ++step) {
    std::vector<uint32_t> missing;
    for (const uint32_t position : steps[step]) {
      const bool is_new = position >= prefilled && made.insert(position).second;
      const bool hit = buffer.contains(position);
      if (hit)
        buffer.touch(position);
      else
        missing.push_back(position);
      if (step == 0 || is_new) continue;
      ++count.reads;
      count.hits += hit ? 1 : 0;
    }
    for (const uint32_t position : missing) buffer.touch(position);
    if (step > 0) ++count.steps;
  }
  return count;
}

}  // namespace ebb::score
