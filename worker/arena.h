// The block arena: all device memory that KV and kept activations may use, cut into equal blocks.
// A block holds granule_tokens rows of one layer. Knows nothing of sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace ebb::worker {

/// Owned by the engine thread.
class Arena {
 public:
  /// `blocks` is the same on every rank of a group; a rank's bytes follow from its KV heads.
  /// Errors: kExhausted (the device has less), kInvalid (no room for a single block).
  static Result<std::unique_ptr<Arena>> make(kernels::Device& device, const kernels::KvShape& shape,
                                             uint32_t blocks);

  /// Appends `count` block ids to `out`. All or nothing. Errors: kExhausted, with both figures.
  Result<void> allocate(uint32_t count, std::vector<uint32_t>& out);
  void free(std::vector<uint32_t>& blocks);  ///< and clears the list

  std::byte* device_base() const { return memory_.bytes_ptr(); }
  uint64_t block_bytes() const { return block_bytes_; }
  uint32_t blocks() const { return blocks_; }
  uint32_t used() const { return blocks_ - static_cast<uint32_t>(free_.size()); }
  uint32_t used_max() const { return used_max_; }

 private:
  Arena(kernels::Buffer memory, uint64_t block_bytes, uint32_t blocks);
  kernels::Buffer memory_;
  uint64_t block_bytes_;
  uint32_t blocks_;
  uint32_t used_max_ = 0;
  /// taken from the back: lowest ids first, so that untouched memory stays untouched
  std::vector<uint32_t> free_;
};

}  // namespace ebb::worker
