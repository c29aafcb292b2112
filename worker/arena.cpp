#include "worker/arena.h"

#include <algorithm>

namespace ebb::worker {

Result<std::unique_ptr<Arena>> Arena::make(kernels::Device& device, const kernels::KvShape& shape,
                                           uint32_t blocks) {
  if (blocks == 0) {
    return invalid("device_kv_size: smaller than one block of " +
                   std::to_string(shape.block_bytes()) + " bytes");
  }
  auto memory =
      EBB_TRY(device.allocate(shape.block_bytes() * blocks, kernels::MemoryKind::kDevice));
  return std::unique_ptr<Arena>(new Arena(std::move(memory), shape.block_bytes(), blocks));
}

Arena::Arena(kernels::Buffer memory, uint64_t block_bytes, uint32_t blocks)
    : memory_(std::move(memory)), block_bytes_(block_bytes), blocks_(blocks) {
  free_.reserve(blocks);
  for (uint32_t b = blocks; b > 0; --b) free_.push_back(b - 1);
}

Result<void> Arena::allocate(uint32_t count, std::vector<uint32_t>& out) {
  if (count > free_.size()) {
    return exhausted("device arena: " + std::to_string(count) + " blocks wanted, " +
                     std::to_string(free_.size()) + " of " + std::to_string(blocks_) + " free");
  }
  for (uint32_t i = 0; i < count; ++i) {
    out.push_back(free_.back());
    free_.pop_back();
  }
  used_max_ = std::max(used_max_, used());
  return {};
}

void Arena::free(std::vector<uint32_t>& blocks) {
  // Reversed, so that the next allocation takes them in the order in which they were given out.
  free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
  EBB_CHECK(free_.size() <= blocks_);
  blocks.clear();
}

}  // namespace ebb::worker
