// Finished sequences that stay inspectable for a while, the newest ones. Plain data; one thread.
#pragma once

#include <deque>
#include <optional>

#include "coordinator/engine.h"

namespace ebb::coordinator {

struct KeptSequence {
  SequenceInfo info;  ///< age_seconds is filled in when asked
  TimePoint submitted_at{};
  /// none: it ended without one (never opened, group lost)
  std::optional<control::SequenceMap> map;
};

class KeptSequences {
 public:
  explicit KeptSequences(size_t most) : most_(most) {}
  void add(KeptSequence sequence) {
    kept_.push_front(std::move(sequence));
    if (kept_.size() > most_) kept_.pop_back();
  }
  const KeptSequence* find(SeqId seq) const {
    for (const auto& sequence : kept_) {
      if (sequence.info.seq == seq) return &sequence;
    }
    return nullptr;
  }
  /// The one that finished last comes first.
  const std::deque<KeptSequence>& all() const { return kept_; }

 private:
  const size_t most_;
  std::deque<KeptSequence> kept_;
};

}  // namespace ebb::coordinator
