// What a sequence keeps beside its rows so that layers can choose without reading keys, and can
// estimate what they do not read: a digest of every key, and sums over runs of keys and values. In
// blocks of the arena, by layer. (policy anchored: docs/policies.md.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "worker/arena.h"
#include "worker/attention/policy.h"

namespace ebb::worker {

/// Owned by the engine thread; gives its blocks back when destroyed.
class SelectionAids {
 public:
  /// None when the policy wants none. Errors: kExhausted (device memory for the mean keys),
  /// kUnsupported (a digest does not fit a block).
  static Result<std::unique_ptr<SelectionAids>> make(Arena& arena, kernels::Backend& backend,
                                                     const kernels::KvShape& shape,
                                                     const AttentionPolicy& policy,
                                                     uint32_t layers);
  ~SelectionAids();
  SelectionAids(const SelectionAids&) = delete;
  SelectionAids& operator=(const SelectionAids&) = delete;

  /// Room for `tokens` tokens in every layer; returns the blocks that were added. All or nothing
  /// for a layer. Errors: kExhausted.
  Result<uint32_t> reserve(uint32_t tokens);

  /// Behind a bulk pass: tokens [0, tokens) of a layer, whose rows are in slots of the same
  /// numbers.
  void fill(uint32_t layer, const kernels::KvRows& kv, uint32_t tokens);
  /// What writes the digest of one token more, if the layer has digests. May be repeated (a step
  /// that is run again). `slot` is referred to.
  std::optional<kernels::DigestArgs> new_digest(uint32_t layer, const kernels::KvRows& kv,
                                                const uint32_t& slot, Position position) const;
  /// The same for its sums: once for each token, when its step has succeeded.
  std::optional<kernels::SumArgs> new_sum(uint32_t layer, const kernels::KvRows& kv,
                                          const uint32_t& slot, Position position) const;

  bool has_digests(uint32_t layer) const { return layers_[layer].digests_wanted; }
  bool has_sums(uint32_t layer) const { return layers_[layer].sums_wanted; }
  const kernels::DigestShape& digest_shape() const { return digest_shape_; }
  kernels::DigestRows digests(uint32_t layer) const;
  kernels::SumRows sums(uint32_t layer) const;

 private:
  struct Layer {
    bool digests_wanted = false;
    bool sums_wanted = false;
    std::vector<uint32_t> digests;  ///< blocks
    std::vector<uint32_t> sums;     ///< blocks
    kernels::Buffer center;         ///< [heads_kv, head_size], where the format wants it
  };
  SelectionAids(Arena& arena, kernels::Backend& backend, const kernels::KvShape& shape);
  Result<uint32_t> grow(std::vector<uint32_t>& blocks, uint32_t units, uint32_t units_of_block);
  const float* center(const Layer& layer) const;

  Arena& arena_;
  kernels::Backend& backend_;
  kernels::KvShape shape_;
  kernels::DigestShape digest_shape_;
  std::vector<Layer> layers_;
};

}  // namespace ebb::worker
