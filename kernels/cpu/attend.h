// The two ways to compute attention on the CPU. Must not know about sequences, layers or tiers.
#pragma once

#include <span>
#include <vector>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/ops.h"

namespace ebb::kernels::cpu {

/// One query row of an AttendArgs.
struct QueryRow {
  const float* q = nullptr;      ///< [heads_q, head_size]
  const float* q_alt = nullptr;  ///< null: none
  uint32_t alt_count = 0;
  uint32_t first = 0;  ///< entries before this one are outside the window
  uint32_t count = 0;  ///< end of the entries this row sees
  KvRows kv;
  std::span<const uint32_t> list;  ///< as in AttendArgs
  ListScope scope = ListScope::kLayer;
  const float* bias = nullptr;  ///< [count]: added to the logits of every head; null: none
  float* out = nullptr;         ///< null: only the logits are wanted
  float* lse = nullptr;
  float* logits = nullptr;  ///< [heads_q, count]; -inf in [0, first)
};

/// Entries [begin, end) of the rows before `item.count` that row `row` of `item` sees.
struct Seen {
  uint32_t begin;
  uint32_t end;
};
Seen seen_by(const AttendArgs& item, uint32_t row);

/// Row `row` of `item`. Logits only where the item wants them: for its last row.
QueryRow query_row(const KvShape& shape, const AttendArgs& item, uint32_t row);

/// Rows one by one, each split into chunks of entries: for decode. The chunk size is fixed and
/// partial states are merged in ascending order, so that bits do not depend on the number of
/// threads.
void attend_rows(const KvShape& shape, std::span<const QueryRow> rows, const InnerKernels& inner,
                 ThreadTeam& team, uint32_t threads);

/// Many rows of one sequence, dense and causal, as tiles of matrix products: for bulk passes.
void attend_tiles(const KvShape& shape, const AttendArgs& item, const InnerKernels& inner,
                  ThreadTeam& team, uint32_t threads);

}  // namespace ebb::kernels::cpu
