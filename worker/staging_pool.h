// Memory that device and network both reach: where records lie between the two. It is the host's
// (pinned), or the device's where UCX reaches that. Both are dear to take, so what is given back is
// kept for the next one, up to a bound; how much is in use is bounded by what is under way. Engine
// thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace ebb::worker {

struct Staging {
  kernels::Buffer buffer;
  kernels::MemoryKind kind = kernels::MemoryKind::kHost;
};

class StagingPool {
 public:
  /// `device` outlives the pool. At most `idle_max` bytes are kept while nobody uses them.
  StagingPool(kernels::Device& device, uint64_t idle_max) : device_(device), idle_max_(idle_max) {}

  /// At least `bytes`, contents undefined. Of the host where the device has no room left: what
  /// fills it are, as a rule, its rows. Errors: kExhausted.
  Result<Staging> take(uint64_t bytes, kernels::MemoryKind kind);
  /// Nobody may still be reading or writing it.
  void give_back(Staging staging);
  uint64_t idle_bytes() const { return idle_bytes_; }

 private:
  kernels::Device& device_;
  const uint64_t idle_max_;
  uint64_t idle_bytes_ = 0;
  std::vector<Staging> idle_;  ///< the longest unused first
};

}  // namespace ebb::worker
