// Sets of positions on the device: which of a selection's tokens are in device memory and which
// have to be fetched, and what several selections want together. Batched over sequences and bands;
// all lengths are read from device memory when the kernels run, so that a captured graph follows
// them. Each enqueues on the context's stream.
#pragma once

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// In a residency map: this position has no slot.
constexpr uint32_t kNotResident = 0xffffffff;

/// A list of positions in device memory; its length too.
struct PositionList {
  const uint32_t* d_positions = nullptr;  ///< [*d_count], ascending
  const uint32_t* d_count = nullptr;
};

/// One list against one residency map. Both results keep the order of the list:
///   slots = map[p] for every listed p that has a slot,   missing = the listed p that have none
struct ResidencySplit {
  const uint32_t* d_map = nullptr;  ///< [map_length]: slot of each position, or kNotResident
  uint32_t map_length = 0;          ///< positions from here on have no slot
  PositionList list;
  uint32_t* d_slots = nullptr;          ///< [*list.d_count at most]
  uint32_t* d_slots_count = nullptr;    ///< one
  uint32_t* d_missing = nullptr;        ///< [*list.d_count at most]
  uint32_t* d_missing_count = nullptr;  ///< one
};
/// One launch, one block to a split.
void split_by_residency(CudaContext& context, const ResidencySplit* d_splits, uint32_t splits);

/// One union: the positions of all lists, ascending, each once.
struct ListUnion {
  const PositionList* d_lists = nullptr;  ///< [lists]
  uint32_t lists = 0;
  uint32_t* d_out = nullptr;  ///< [all positions at most]
  uint32_t* d_out_count = nullptr;
};
/// `positions_end`: above every position of every list; sizes the scratch, a bit for each.
/// `entries_max`: entries of one union's lists together; sizes the launch, no more than that.
struct ListUnions {
  const ListUnion* d_unions = nullptr;
  uint32_t unions = 0;  ///< at most 65535
  uint32_t positions_end = 0;
  uint32_t entries_max = 0;
};
void unite_lists(CudaContext& context, const ListUnions& unions);

}  // namespace ebb::kernels::cuda
