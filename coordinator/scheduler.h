// Decides which unit of work a group runs next, and what a unit's outcome means for the requests.
// Pure: no I/O, no threads, no clock (the time is an argument); must not know ranks, links or text.
//
// Rules
// - Order: first come, first served. Only the oldest waiting request is looked at, so none starves.
// - Admission: when fewer than max_num_seqs are open, no other bulk pass runs, and one of its
//   placements fits beside what the others have reserved. When it does not fit but resident
//   sequences of sparse policies could give enough back, those are released first, the oldest
//   before the others.
// - Rhythm: one bulk pass at a time; after each of its units one decode unit for all sequences that
//   decode.
// - Ends: a sequence that ended, failed or was cancelled is closed by the very next unit.
// - Arena: the reservations together never exceed it (checked).
//
// One unit is in flight at a time; next() and finish() are separate so that one more can be sent
// ahead one day.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "coordinator/bulk_plan.h"
#include "coordinator/engine.h"
#include "coordinator/request_check.h"
#include "coordinator/unit_merge.h"

namespace ebb::coordinator {

struct SchedulerLimits {
  uint32_t max_num_seqs = 8;
  uint32_t queue_max = 256;
  uint32_t chunk_tokens = 512;
};

/// What happened to a request, in order. Finished and Failed are last words; Closed follows either
/// when the workers have let go of the sequence, with its last map when they gave one.
struct PromptScored {
  SeqId seq;
  std::vector<control::TokenLogprob> scored;
};
struct TokenMade {
  SeqId seq;
  control::TokenLogprob token;
  std::vector<control::SelectionTrace> trace;
};
struct Finished {
  SeqId seq;
  FinishReason reason;
  Usage usage;
};
struct Failed {
  SeqId seq;
  Error error;
};
struct Closed {
  SeqId seq;
  std::optional<control::SequenceMap> map;
};
using Event = std::variant<PromptScored, TokenMade, Finished, Failed, Closed>;
using Events = std::vector<Event>;

enum class Phase : uint8_t { kWaiting, kOpening, kBulk, kDecode, kClosing };

class Scheduler {
 public:
  Scheduler(ArenaModel arena, SchedulerLimits limits);

  /// Errors: kExhausted (queue_max requests wait).
  Result<void> submit(SeqId seq, CheckedRequest request, TimePoint now);
  /// Ends a request at once; later results of it are dropped. Unknown ids are ignored.
  Events cancel(SeqId seq, FinishReason reason, TimePoint now);
  /// Ends a request with an error.
  Events fail(SeqId seq, const Error& error);
  /// The group is gone: everything ends with `error`, and nothing is left to close.
  Events lose_all(const Error& error);

  /// The next unit (epoch and id are the caller's), which is then in flight; none while one is, or
  /// when there is nothing to do.
  std::optional<control::Unit> next(TimePoint now);
  /// The unit in flight came back. `outcome.failures` must not hold seq 0: that is a lost group.
  Events finish(const UnitOutcome& outcome, TimePoint now);

  bool idle() const { return sequences_.empty(); }
  uint32_t waiting() const { return static_cast<uint32_t>(queue_.size()); }
  uint32_t running() const { return static_cast<uint32_t>(sequences_.size() - queue_.size()); }
  uint64_t reserved_blocks() const { return reserved_; }

  struct View {
    Phase phase = Phase::kWaiting;
    bool ended = false;  ///< the request has its last word; only the close is missing
    control::PolicyParams policy;
    uint32_t prompt_tokens = 0;
    uint32_t tokens = 0;  ///< with KV in all layers
    uint32_t generated = 0;
  };
  /// Null when unknown.
  std::optional<View> view(SeqId seq) const;

 private:
  struct Sequence {
    SeqId seq;
    Phase phase = Phase::kWaiting;
    bool ended = false;
    control::OpenUnit open;  ///< the prompt moves into the open unit
    uint32_t prompt_tokens = 0;
    SequenceSize size;
    std::vector<Placement> placements;
    Residency residency = Residency::kAll;
    BulkPlan plan;
    uint64_t reserved = 0;
    uint64_t decode_blocks = 0;  ///< reserved once the bulk pass is over
    uint32_t decode_steps = 0;   ///< done
    uint32_t generated = 0;
    TimePoint submitted_at{}, opened_at{}, decoding_at{};
    control::SequenceCounters counters;
    uint64_t device_bytes_max = 0;
  };

  /// What finish() must know of the unit that is under way.
  struct InFlight {
    control::UnitKind kind = control::UnitKind::kDecode;
    std::vector<SeqId> seqs;
  };

  Sequence* find(SeqId seq);
  std::optional<control::Unit> choose(TimePoint now);
  std::optional<control::Unit> close_one();
  std::optional<control::Unit> decode_all();
  control::Unit bulk_step(Sequence& sequence);
  std::optional<control::Unit> admit_head(TimePoint now);
  std::optional<control::Unit> make_room(const Sequence& head);
  control::Unit open(Sequence& sequence, const Placement& placement, TimePoint now);
  void reserve(Sequence& sequence, uint64_t blocks);

  void finish_bulk(Sequence& sequence, const control::SequenceResult* result, TimePoint now,
                   Events& events);
  void finish_release(Sequence& sequence, TimePoint now);
  void finish_decode(Sequence& sequence, const control::SequenceResult* result, TimePoint now,
                     Events& events);
  void finish_close(SeqId seq, const UnitOutcome& outcome, Events& events);
  void start_decoding(Sequence& sequence, TimePoint now);
  void take_tokens(Sequence& sequence, const control::SequenceResult& result, TimePoint now,
                   Events& events);
  void end(Sequence& sequence, Event last_word, Events& events);
  Usage usage(const Sequence& sequence, TimePoint now) const;

  const ArenaModel arena_;
  const SchedulerLimits limits_;
  std::map<SeqId, Sequence> sequences_;  ///< by age: ids grow
  std::deque<SeqId> queue_;
  std::optional<InFlight> in_flight_;
  std::optional<SeqId> bulk_;  ///< whose bulk pass runs
  bool decode_due_ = false;
  uint64_t reserved_ = 0;
};

}  // namespace ebb::coordinator
