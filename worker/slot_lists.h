// The lists of slots that a step's layers read, in device memory. Positions travel once, whichever
// bands and layers read them; slots are looked up where they are used, in a map of the band that
// lies there too and is told only what changed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "kernels/ops.h"
#include "worker/sequence_kv.h"

namespace ebb::worker {

/// Of one engine; engine thread only.
class SlotLists {
 public:
  /// `backend` outlives the lists.
  explicit SlotLists(kernels::Backend& backend);

  /// A step begins: what lists were made before is no longer read.
  void begin_step();

  /// Where the slots of `positions`, which all have one in `band`, will be after make():
  /// [positions] in device memory, until the next step begins. `positions` stay until make().
  /// Errors: kExhausted.
  Result<const uint32_t*> add(SequenceKv& kv, uint32_t band, std::span<const Position> positions);
  /// The same for entries that are slots already, which travel as they are.
  Result<const uint32_t*> add_slots(std::span<const uint32_t> slots);
  Result<const uint32_t*> add_slots(std::vector<uint32_t>&& slots);

  /// Enqueues what was added; what is enqueued after this sees it.
  void make();

 private:
  Result<uint32_t*> room(size_t entries);

  kernels::Backend& backend_;
  const bool host_reachable_;
  std::vector<kernels::Buffer> chunks_;
  size_t chunk_ = 0;  ///< in use; those before it are full
  size_t used_ = 0;   ///< entries of it
  std::vector<kernels::ListArgs> lists_;
  std::vector<kernels::MapArgs> changes_;
  std::deque<std::vector<uint32_t>> held_;  ///< what they refer to
};

}  // namespace ebb::worker
