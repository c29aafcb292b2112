// Somebody in the same process who looks at what decode steps compute: measures of quality do. A
// service has none. Looking changes no result; it costs time.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace ebb::worker {

/// Called on the engine thread, within Engine::run.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  /// Rank 0: `logits` [vocabulary] behind the token at `length - 1`.
  virtual void on_logits(SeqId seq, uint32_t length, std::span<const float> logits) = 0;
  /// Behind on_logits: KV bytes of this rank that the step read for the sequence, with whatever
  /// stands for KV, and what dense attention would have read.
  virtual void on_bytes(SeqId /*seq*/, uint64_t /*read*/, uint64_t /*dense*/) {}
  /// True: on_read() is wanted, and dense attention is computed beside every sparse read for it.
  virtual bool wants_reads() const { return false; }
  /// A layer that reads a set, while all rows are on the device: for each query head of this rank
  /// the share of its dense attention probability, over all tokens that the layer can see, that
  /// falls into what it reads.
  virtual void on_read(SeqId /*seq*/, uint32_t /*layer*/, std::span<const float> /*shares*/) {}
};

}  // namespace ebb::worker
