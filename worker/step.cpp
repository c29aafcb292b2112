#include "worker/step.h"

#include <algorithm>

namespace ebb::worker {

Position StepContext::first_seen_in_band(uint32_t band, uint32_t length) const {
  const LayerRange layers = layout.bands[band];
  Position first = length;
  for (uint32_t layer = layers.begin; layer < layers.end; ++layer) {
    first = std::min(first, first_seen(layer, length));
  }
  return first;
}

PatternRead read_pattern(const SinksWindow& pattern, const BandResidency& ring, Position position) {
  PatternRead read;
  const Position window = position > pattern.window ? position - pattern.window : 0;
  const Position sinks = std::min(pattern.sinks, window);
  for (Position p = 0; p < sinks; ++p) read.slots.push_back(ring.slot(p));
  read.alt = sinks;
  for (Position p = std::max(window, sinks); p <= position; ++p) {
    read.slots.push_back(ring.slot(p));
  }
  return read;
}

kernels::AttendArgs cut_pattern(const PatternRead& read, uint32_t window) {
  const auto slots = static_cast<uint32_t>(read.slots.size());
  const uint32_t unseen = window > 0 && window < slots ? slots - window : 0;
  kernels::AttendArgs args;
  args.list = std::span(read.slots).subspan(unseen);
  args.count = slots - unseen;
  args.alt_count = read.alt > unseen ? read.alt - unseen : 0;
  return args;
}

Result<std::vector<std::vector<float>>> mean_queries(StepContext& context,
                                                     std::span<const float* const> d_rows) {
  const uint64_t size = context.shape.head_size;
  const uint64_t heads = context.shape.heads_q;
  std::vector<float> row(heads * size), sums(d_rows.size() * size);
  for (size_t i = 0; i < d_rows.size(); ++i) {
    context.backend.device->copy_to_host(row.data(), d_rows[i], row.size() * sizeof(float));
    for (uint64_t h = 0; h < heads; ++h) {
      for (uint64_t j = 0; j < size; ++j) sums[i * size + j] += row[h * size + j];
    }
  }
  EBB_TRY_VOID(context.backend.device->synchronize());
  EBB_TRY_VOID(context.model.sum_over_ranks(sums));
  std::vector<std::vector<float>> means;
  for (size_t i = 0; i < d_rows.size(); ++i) {
    const auto first = sums.begin() + static_cast<ptrdiff_t>(i * size);
    means.emplace_back(first, first + static_cast<ptrdiff_t>(size));
    for (float& x : means.back()) x /= static_cast<float>(context.model.shape().heads_q);
  }
  return means;
}

}  // namespace ebb::worker
