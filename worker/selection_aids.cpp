#include "worker/selection_aids.h"

#include <numeric>

namespace ebb::worker {
namespace {

kernels::DigestFormat format_of(DigestKind kind) {
  switch (kind) {
    case DigestKind::kInt4:
      return kernels::DigestFormat::kInt4;
    case DigestKind::kH3:
      return kernels::DigestFormat::kH3;
    default:
      return kernels::DigestFormat::kH2;
  }
}

std::vector<uint32_t> first_slots(uint32_t count) {
  std::vector<uint32_t> slots(count);
  std::iota(slots.begin(), slots.end(), 0u);
  return slots;
}

}  // namespace

SelectionAids::SelectionAids(Arena& arena, kernels::Backend& backend, const kernels::KvShape& shape)
    : arena_(arena), backend_(backend), shape_(shape) {}

SelectionAids::~SelectionAids() {
  for (Layer& layer : layers_) {
    arena_.free(layer.digests);
    arena_.free(layer.sums);
  }
}

Result<std::unique_ptr<SelectionAids>> SelectionAids::make(Arena& arena, kernels::Backend& backend,
                                                           const kernels::KvShape& shape,
                                                           const AttentionPolicy& policy,
                                                           uint32_t layers) {
  std::unique_ptr<SelectionAids> aids(new SelectionAids(arena, backend, shape));
  aids->digest_shape_ = {format_of(policy.digest()), shape.heads_kv, shape.head_size};
  bool any = false;
  for (uint32_t l = 0; l < layers; ++l) {
    Layer& layer = aids->layers_.emplace_back();
    layer.digests_wanted = policy.wants_digests(l);
    layer.sums_wanted = policy.wants_sums(l);
    any = any || layer.digests_wanted || layer.sums_wanted;
    if (!layer.digests_wanted || policy.digest() == DigestKind::kInt4) continue;
    const uint64_t bytes = uint64_t{shape.heads_kv} * shape.head_size * sizeof(float);
    layer.center = EBB_TRY(backend.device->allocate(bytes, kernels::MemoryKind::kDevice));
  }
  if (!any) return std::unique_ptr<SelectionAids>();
  if (aids->digest_shape_.page_tokens(shape.block_bytes()) == 0 ||
      kernels::SumRows::page_runs(shape) == 0) {
    return unsupported("policy anchored: blocks of " + std::to_string(shape.block_bytes()) +
                       " bytes are too small for digests and sums; store.granule_tokens must be "
                       "larger");
  }
  return aids;
}

Result<uint32_t> SelectionAids::grow(std::vector<uint32_t>& blocks, uint32_t units,
                                     uint32_t units_of_block) {
  const uint32_t wanted = (units + units_of_block - 1) / units_of_block;
  const auto have = static_cast<uint32_t>(blocks.size());
  if (wanted <= have) return 0u;
  EBB_TRY_VOID(arena_.allocate(wanted - have, blocks));
  return wanted - have;
}

Result<uint32_t> SelectionAids::reserve(uint32_t tokens) {
  const uint32_t runs = (tokens + kernels::kSumTokens - 1) / kernels::kSumTokens;
  uint32_t added = 0;
  for (Layer& layer : layers_) {
    if (layer.digests_wanted) {
      added +=
          EBB_TRY(grow(layer.digests, tokens, digest_shape_.page_tokens(shape_.block_bytes())));
    }
    if (layer.sums_wanted)
      added += EBB_TRY(grow(layer.sums, runs, kernels::SumRows::page_runs(shape_)));
  }
  return added;
}

const float* SelectionAids::center(const Layer& layer) const {
  return layer.center.size() > 0 ? layer.center.floats() : nullptr;
}

kernels::DigestRows SelectionAids::digests(uint32_t layer) const {
  return {arena_.device_base(), layers_[layer].digests};
}

kernels::SumRows SelectionAids::sums(uint32_t layer) const {
  return {arena_.device_base(), layers_[layer].sums};
}

void SelectionAids::fill(uint32_t layer, const kernels::KvRows& kv, uint32_t tokens) {
  Layer& l = layers_[layer];
  if (!l.digests_wanted && !l.sums_wanted) return;
  const std::vector<uint32_t> slots = first_slots(tokens);
  kernels::Ops& ops = *backend_.ops;
  if (l.digests_wanted) {
    if (center(l) != nullptr) ops.mean_key(shape_, kv, slots, l.center.floats());
    const kernels::DigestArgs all{kv, slots, 0, digests(layer), center(l)};
    ops.write_digest(shape_, digest_shape_, {&all, 1});
  }
  if (!l.sums_wanted) return;
  const kernels::SumArgs all{kv, slots, 0, sums(layer)};
  ops.add_sums(shape_, {&all, 1});
}

std::optional<kernels::DigestArgs> SelectionAids::new_digest(uint32_t layer,
                                                             const kernels::KvRows& kv,
                                                             const uint32_t& slot,
                                                             Position position) const {
  const Layer& l = layers_[layer];
  if (!l.digests_wanted) return {};
  return kernels::DigestArgs{kv, std::span(&slot, 1), position, digests(layer), center(l)};
}

std::optional<kernels::SumArgs> SelectionAids::new_sum(uint32_t layer, const kernels::KvRows& kv,
                                                       const uint32_t& slot,
                                                       Position position) const {
  if (!layers_[layer].sums_wanted) return {};
  return kernels::SumArgs{kv, std::span(&slot, 1), position, sums(layer)};
}

}  // namespace ebb::worker
