// Prefix sums over the threads of a block: the base of everything that compacts.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace ebb::kernels::cuda {

struct Scanned {
  uint32_t before = 0;  ///< sum over the threads before this one
  uint32_t total = 0;   ///< sum over all threads of the block
};

/// Over all threads of a block of whole warps, at most 1024, in the order of their numbers. `room`
/// [32] is shared memory that nobody else uses until the next barrier.
__device__ __forceinline__ Scanned block_scan(uint32_t x, uint32_t* room) {
  uint32_t sum = x;  // up to this lane, itself included
  for (unsigned step = 1; step < kWarp; step *= 2) {
    const uint32_t other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane_id() >= step) sum += other;
  }
  __syncthreads();  // an earlier use of the room is over
  if (lane_id() == kWarp - 1) room[warp_id()] = sum;
  __syncthreads();
  const unsigned warps = blockDim.x / kWarp;
  const uint32_t of_warp = lane_id() < warps ? room[lane_id()] : 0;
  const uint32_t before = warp_sum(lane_id() < warp_id() ? of_warp : 0u);
  return {before + sum - x, warp_sum(of_warp)};
}

/// Two flags of each thread counted at once, as block_scan: by votes, which cost a warp one
/// instruction each.
struct ScannedFlags {
  uint32_t first_before = 0, second_before = 0;
  uint32_t first_total = 0, second_total = 0;
};
__device__ __forceinline__ ScannedFlags block_scan_flags(bool first, bool second, uint32_t* room) {
  constexpr uint32_t kHalf = 0xffff;  // two counts of at most 1024 in one word
  const unsigned votes = __ballot_sync(kAllLanes, first ? 1 : 0);
  const unsigned second_votes = __ballot_sync(kAllLanes, second ? 1 : 0);
  const unsigned below = (1u << lane_id()) - 1;
  const auto both = [](unsigned a, unsigned b) {
    return static_cast<uint32_t>(__popc(a)) | static_cast<uint32_t>(__popc(b)) << 16;
  };
  __syncthreads();  // an earlier use of the room is over
  if (lane_id() == 0) room[warp_id()] = both(votes, second_votes);
  __syncthreads();
  uint32_t before = both(votes & below, second_votes & below), total = 0;
  for (uint32_t w = 0; w < blockDim.x / kWarp; ++w) {
    if (w == warp_id()) before += total;
    total += room[w];
  }
  return {before & kHalf, before >> 16, total & kHalf, total >> 16};
}

}  // namespace ebb::kernels::cuda
