// See lists.h.
#include "kernels/cuda/lists.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/launch_shapes.h"

namespace ebb::kernels::cuda {
namespace {

struct ListItem {
  const uint32_t* positions;
  const uint32_t* map;  ///< null: slots are positions
  uint32_t* slots;
  uint64_t count;
};

/// One for each y of the grid.
__global__ void make_lists_kernel(const ListItem* items) {
  const ListItem item = items[blockIdx.y];
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < item.count; i += step) {
    const uint32_t position = item.positions[i];
    item.slots[i] = item.map == nullptr ? position : item.map[position];
  }
}

struct MapItem {
  uint32_t* map;
  const uint32_t* positions;
  const uint32_t* slots;
  uint64_t count;
};

__global__ void update_maps_kernel(const MapItem* items) {
  const MapItem item = items[blockIdx.y];
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < item.count; i += step) {
    item.map[item.positions[i]] = item.slots[i];
  }
}

template <class Item>
void launch_items(CudaContext& context, void (*kernel)(const Item*), const std::vector<Item>& items,
                  const char* what) {
  uint64_t longest = 0;
  for (const Item& item : items) longest = std::max(longest, item.count);
  if (longest == 0) return;
  const Item* d_items = context.upload(items);
  if (context.failed()) return;
  const FlatShape grid = flat_shape(longest, context.multiprocessors());
  for_grids(items.size(), [&](unsigned first, unsigned count) {
    launch(context.shape(dim3(grid.blocks, count), grid.threads), kernel, d_items + first);
  });
  context.check_launch(what);
}

}  // namespace

void make_lists(CudaContext& context, std::span<const ListArgs> items) {
  std::vector<ListItem> all;
  const ListArgs* last = nullptr;
  for (const ListArgs& item : items) {
    // Bands that read one set follow each other.
    const bool again = last != nullptr && last->positions.data() == item.positions.data() &&
                       last->positions.size() == item.positions.size();
    const uint32_t* d_positions = again ? all.back().positions : context.upload(item.positions);
    all.push_back({d_positions, item.d_map, item.d_slots, item.positions.size()});
    last = &item;
  }
  launch_items(context, &make_lists_kernel, all, "make_lists");
}

void update_maps(CudaContext& context, std::span<const MapArgs> items) {
  std::vector<MapItem> all;
  for (const MapArgs& item : items) {
    EBB_CHECK(item.positions.size() == item.slots.size());
    all.push_back({item.d_map, context.upload(item.positions), context.upload(item.slots),
                   item.positions.size()});
  }
  launch_items(context, &update_maps_kernel, all, "update_maps");
}

}  // namespace ebb::kernels::cuda
