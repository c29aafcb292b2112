// One sequence on one rank: its tokens, its KV, its policy and its last sets.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "transport/control/messages.h"
#include "worker/attention/policy.h"
#include "worker/attention/token_scores.h"
#include "worker/exactness.h"
#include "worker/kept_activations.h"
#include "worker/sampling_state.h"
#include "worker/selection_aids.h"
#include "worker/sequence_kv.h"

namespace ebb::worker {

struct Sequence {
  control::OpenUnit open;
  std::vector<TokenId> tokens;  ///< prompt, then what was sampled
  uint32_t length = 0;          ///< tokens whose KV exists in every layer
  std::unique_ptr<AttentionPolicy> policy;
  std::unique_ptr<SequenceKv> kv;
  std::unique_ptr<SelectionAids> aids;      ///< where the policy wants any
  std::unique_ptr<SamplingState> sampling;  ///< rank 0 only
  std::unique_ptr<KeptActivations> kept;    ///< during a band-by-band bulk pass
  std::unique_ptr<TokenScores> scores;      ///< of policies that score tokens
  SelectionHistory history;                 ///< as after the last step that succeeded
  Exactness exactness{0};
  std::vector<Digest> content;  ///< content digest of each whole granule of exact tokens
  control::SequenceCounters counters;

  SeqId id() const { return open.seq; }
  /// Tokens that a bulk pass computes; the rest go through the decode path.
  uint32_t bulk_end() const { return open.decode_from; }
  /// The step that makes the next token's KV.
  StepInfo next_step() const { return {length + 1, length + 1 - bulk_end()}; }
  /// Rows of the pool of a policy that forgets what it does not retain; 0: every row stays.
  uint32_t token_rows() const {
    const auto all = static_cast<uint32_t>(open.prompt.size()) + open.max_tokens;
    return std::min(policy->token_pool(), all);
  }
  /// Rows of one decode step, at most: the newest token's, and those of tokens that are rebuilt.
  uint32_t rows_of_step() const { return 1 + (open.policy.restores ? 0 : open.policy.rebuild); }
  control::SequenceCounters counters_now() const {
    control::SequenceCounters now = counters;
    now.device_blocks = kv->blocks_used();
    now.device_blocks_max = kv->blocks_max();
    return now;
  }
};

}  // namespace ebb::worker
