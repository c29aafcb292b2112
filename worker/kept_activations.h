// The residual stream of a prompt between the bands of a band-by-band bulk pass, kept in arena
// blocks so that it is accounted like KV. Dealt over the ranks by token position in proportion to
// the heads that they keep, as the arena is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/device.h"
#include "models/kv_layout.h"
#include "worker/arena.h"
#include "worker/model/weights.h"

namespace ebb::worker {

/// Owned by the engine thread; gives its blocks back when destroyed.
class KeptActivations {
 public:
  /// `row_bytes`: of one token's activations. `heads` of `heads_all`: KvLayout::kept_heads_of the
  /// rank. Token p belongs to the rank whose heads contain p mod heads_all.
  KeptActivations(Arena& arena, kernels::Device& device, HeadRange heads, uint32_t heads_all,
                  uint32_t row_bytes);
  ~KeptActivations();
  KeptActivations(const KeptActivations&) = delete;
  KeptActivations& operator=(const KeptActivations&) = delete;

  bool mine(Position p) const;
  /// Room for tokens [0, end). Errors: kExhausted.
  Result<void> reserve(uint32_t end);
  /// Keeps the rows of `range` that are this rank's; d_rows [range, row_bytes].
  void save(TokenRange range, const float* d_rows);
  /// The reverse: this rank's rows of `range` are written, the others are set to zero, so that a
  /// sum over ranks gives every row to every rank.
  void load(TokenRange range, float* d_rows);
  uint32_t blocks() const { return static_cast<uint32_t>(blocks_.size()); }
  void clear();

 private:
  uint64_t index_of(Position p) const;
  enum class Direction { kToArena, kFromArena };
  void copy(Position p, std::byte* d_row, Direction direction);

  Arena& arena_;
  kernels::Device& device_;
  HeadRange heads_;
  uint32_t heads_all_;
  uint32_t row_bytes_;
  std::vector<uint32_t> blocks_;
  std::vector<std::byte> zeros_;
};

}  // namespace ebb::worker
