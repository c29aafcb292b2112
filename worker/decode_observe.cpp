// What an observer sees of a layer: how much of the dense attention lies in what a policy reads.
// Never part of a service's step.
#include <algorithm>
#include <cmath>

#include "worker/decode_step.h"
#include "worker/observer.h"

namespace ebb::worker {
namespace {

/// Share of softmax(logits [count]) that falls on the slots of `list`.
float share_of(std::span<const float> logits, std::span<const uint32_t> list) {
  float best = -INFINITY;
  for (const float logit : logits) best = std::max(best, logit);
  double all = 0, listed = 0;
  for (const float logit : logits) all += std::exp(static_cast<double>(logit - best));
  for (const uint32_t slot : list) listed += std::exp(static_cast<double>(logits[slot] - best));
  return static_cast<float>(listed / all);
}

}  // namespace

/// Slots are positions here: bands that are wholly on the device. Members that read a fixed pattern
/// keep no other rows, so there is nothing to compare with.
Result<void> DecodeStep::observe(uint32_t layer) {
  if (!c_.observer->wants_reads()) return {};
  const uint32_t heads = c_.shape.heads_q;
  const uint64_t row = uint64_t{heads} * c_.shape.head_size;
  for (Member& member : members_) {
    const bool hot = member.sequence->kv->residency(c_.layout.band_of(layer)).hot();
    if (hot || member.plan.reads != LayerPlan::Reads::kSet) continue;
    // 1. Dense attention with the same query, beside the step's own buffers.
    const uint32_t length = member.length();
    kernels::Device& device = *c_.backend.device;
    const uint64_t floats = uint64_t{heads} * length;
    const kernels::Buffer scratch =
        EBB_TRY(device.allocate((floats + row) * sizeof(float), kernels::MemoryKind::kDevice));
    kernels::AttendArgs dense = args_of(member, layer);
    dense.d_q_alt = nullptr;
    dense.count = length;
    dense.window = c_.model.shape().window(layer);
    dense.d_logits = scratch.floats();
    dense.d_out = scratch.floats() + floats;
    dense.d_lse = nullptr;
    c_.backend.ops->attend(c_.shape, std::span(&dense, 1));
    std::vector<float> logits(floats);
    device.copy_to_host(logits.data(), scratch.data(), floats * sizeof(float));
    // 2. What the layer reads of it.
    const SetEntries read = set_entries(member);
    const uint32_t unseen = unseen_of_set(member, layer);
    std::vector<float> shares(heads);
    for (uint32_t h = 0; h < heads; ++h) {
      const uint32_t list = read.scope == kernels::ListScope::kLayer ? 0
                            : read.scope == kernels::ListScope::kKvHead
                                ? h / (heads / c_.shape.heads_kv)
                                : h;
      shares[h] =
          share_of(std::span(logits).subspan(uint64_t{h} * length, length),
                   read.entries.subspan(uint64_t{list} * read.count, read.count).subspan(unseen));
    }
    c_.observer->on_read(member.sequence->id(), layer, shares);
  }
  return {};
}

}  // namespace ebb::worker
