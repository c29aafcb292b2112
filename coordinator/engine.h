// What the HTTP side of the coordinator sees of the rest: submit tokens, receive tokens. Below this
// line there is no text and no JSON; above it no ranks and no units.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coordinator/policy_options.h"
#include "models/selection_profile.h"
#include "transport/control/messages.h"

namespace ebb::coordinator {

/// One sequence to decode. Numbers were range-checked by the API; the engine checks what depends on
/// the model and the device (prompt + max_tokens against the context, the arena) and answers
/// kInvalid naming field and limit.
struct GenerateRequest {
  std::string request_id;
  std::vector<TokenId> prompt;  ///< at least one token
  uint32_t max_tokens = 16;     ///< 0 only with prompt_logprobs or decode_from
  std::optional<uint32_t> decode_from;
  std::optional<control::PolicyKind> policy;  ///< none: config.policy.name
  std::optional<uint32_t> budget;
  std::optional<uint32_t> sinks;
  std::optional<uint32_t> window;
  PolicyOptions options;
  control::SamplingParams sampling;
  control::Constraint constraint;  ///< compiles
  bool trace_selection = false;
};

enum class FinishReason { kStop, kLength, kAbort };

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  control::PolicyParams policy;        ///< what ran
  control::SequenceCounters counters;  ///< summed over ranks
  uint64_t device_bytes_max = 0;       ///< of all ranks together
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double queue_seconds = 0;
};

/// Receives one sequence's tokens. Called on the engine's thread, in order; must not block.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  /// Log-probabilities of prompt tokens, in order, in one or more pieces (echo + logprobs, or
  /// decode_from).
  virtual void on_prompt(std::vector<control::TokenLogprob> scored) = 0;
  /// `steps` traces one decode step when asked for. Stop tokens are not delivered.
  virtual void on_token(const control::TokenLogprob& token,
                        std::vector<control::SelectionTrace> trace) = 0;
  /// Last call. After cancel() it still comes (kAbort, or whatever was already decided).
  virtual void on_finish(FinishReason reason, const Usage& usage) = 0;
  /// Last call instead of on_finish: nothing hangs, nothing is silently short.
  virtual void on_error(const Error& error) = 0;
};

struct RankState {
  uint32_t rank = 0;
  bool joined = false;
  std::string node;
  uint64_t pid = 0;
  std::string backend;
};
struct GroupState {
  std::string name;
  uint64_t epoch = 0;
  std::string state;  ///< "waiting for ranks 1", "forming", "ready", "lost: <why>"
  bool ready = false;
  std::vector<RankState> ranks;
  uint64_t arena_blocks = 0, arena_blocks_used = 0, arena_blocks_max = 0;
  uint64_t block_bytes_all = 0;  ///< bytes of one block over all ranks
};
struct StoreState {
  std::string name;
  std::string address;
  bool connected = false;
  std::string problem;
  std::optional<control::StoreStatus> status;
};
struct SequenceInfo {
  SeqId seq;
  std::string request_id;
  std::string state;  ///< "waiting", "prefill", "decode", "finished", "failed"
  std::string policy;
  uint32_t budget = 0;
  uint32_t prompt_tokens = 0;
  uint32_t tokens = 0;  ///< with KV
  uint32_t generated = 0;
  double age_seconds = 0;
  std::string error;
};
struct EngineStatus {
  /// a group is ready, a store tier is writable (or no store configured), not draining
  bool ready = false;
  std::string not_ready_because;
  bool draining = false;
  /// since the last finished unit while work is queued; 0 when idle
  double progress_age_seconds = 0;
  bool healthy = true;  ///< progress_age below the limit
  uint32_t running = 0;
  uint32_t waiting = 0;
  std::vector<GroupState> groups;
  std::vector<StoreState> stores;
};

/// All methods any thread.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Errors at once: kInvalid (names field and limit), kExhausted (queue full: HTTP 429),
  /// kUnavailable (draining, no group ready: 503). Everything later comes through the sink.
  virtual Result<SeqId> submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) = 0;
  /// The client went away, or a stop string matched: ends the sequence soon and frees it. Unknown
  /// ids are ignored.
  virtual void cancel(SeqId seq, FinishReason reason) = 0;
  virtual EngineStatus status() = 0;
  virtual std::vector<SequenceInfo>
  sequences() = 0;  ///< newest first; finished ones up to kept_sequences
  /// kNotFound for ids that are neither live nor kept. `answer` on an unspecified thread.
  virtual void describe(std::optional<SeqId> seq,
                        std::function<void(Result<control::SequenceMap>)> answer) = 0;
  /// What one store keeps, page by page. Errors: kNotFound and kInvalid (name the field),
  /// kUnavailable, kTimeout. `answer` on an unspecified thread.
  virtual void granules(const std::string& store, control::GranuleQuery query,
                        std::function<void(Result<control::GranulePage>)> answer) = 0;
  /// Refuses new work; returns when running requests are done or `by` has passed (they then end
  /// with an error).
  virtual void drain(Deadline by) = 0;
};

}  // namespace ebb::coordinator
