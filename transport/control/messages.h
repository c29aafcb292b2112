// What coordinator, workers and stores say to each other, as plain structs.
// transport/control/*.capnp carry the same on the wire; codec.cpp turns one into the other and is
// the only place that knows both.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"

namespace ebb::control {

constexpr uint32_t kProtocolVersion = 2;

/// First words of a worker. A coordinator refuses another protocol version, token, group, rank or
/// model digest with an Error whose message names the field and both values.
struct WorkerHello {
  uint32_t protocol_version = kProtocolVersion;
  std::string cluster_token;
  std::string node;  ///< "g0/rank1"
  std::string group;
  uint32_t rank = 0;
  uint64_t pid = 0;
  Digest model_digest;
  std::string backend;  ///< DeviceInfo::name
  friend bool operator==(const WorkerHello&, const WorkerHello&) = default;
};

struct StoreAddress {
  std::string name;
  HostPort data;
  friend bool operator==(const StoreAddress&, const StoreAddress&) = default;
};

/// A new incarnation of a group. The worker drops every sequence of older epochs, makes the
/// collective, connects to the stores, and answers.
struct FormGroup {
  Epoch epoch;
  uint32_t rank = 0;
  uint32_t ranks = 1;
  std::string profile_yaml;  ///< selection profile, in force for the whole epoch
  uint32_t granule_tokens = 16;
  uint64_t device_kv_bytes = 0;  ///< of the whole group
  uint32_t max_model_len = 0;
  std::vector<StoreAddress> stores;
  /// Of the packed token table (models/grammar/token_table.h) that constraints of this epoch are
  /// about. The table itself goes to rank 0 only, and only when it may not have it yet.
  Digest vocabulary_digest;
  std::string vocabulary;  ///< packed; empty: as before
  friend bool operator==(const FormGroup&, const FormGroup&) = default;
};
struct FormReply {
  Digest layout;
  uint32_t arena_blocks = 0;  ///< blocks of one layer x granule_tokens; the same on every rank
  bool store_connected = false;
  friend bool operator==(const FormReply&, const FormReply&) = default;
};

enum class PolicyKind : uint8_t {
  kDense,
  kTidal,
  kStreaming,
  kRecycled,
  kComposed,
  kAnchored,
  kAdore
};
constexpr PolicyKind kPolicyKinds[] = {
    PolicyKind::kDense,    PolicyKind::kTidal,    PolicyKind::kStreaming, PolicyKind::kRecycled,
    PolicyKind::kComposed, PolicyKind::kAnchored, PolicyKind::kAdore};
const char* policy_name(PolicyKind kind);

/// Who shares one set: all heads of all ranks, the query heads of one KV head, nobody.
enum class SetScope : uint8_t { kLayer, kKvHead, kQueryHead };
constexpr SetScope kSetScopes[] = {SetScope::kLayer, SetScope::kKvHead, SetScope::kQueryHead};
const char* scope_name(SetScope scope);

/// The low-precision copy of every key that selection may read instead of the keys.
enum class DigestKind : uint8_t { kNone, kInt4, kH3, kH2 };
constexpr DigestKind kDigestKinds[] = {DigestKind::kNone, DigestKind::kInt4, DigestKind::kH3,
                                       DigestKind::kH2};
const char* digest_name(DigestKind kind);

/// In force for one sequence from admission on; docs/policies.md says what each number means. K
/// counts sinks and window.
struct PolicyParams {
  PolicyKind kind = PolicyKind::kDense;
  uint32_t budget = 0;  ///< K, tokens
  uint32_t sinks = 4;
  uint32_t window = 256;  ///< tidal: the current token included; streaming: before the current one
  // tidal, composed, anchored
  SetScope scope = SetScope::kLayer;
  bool rank_union = false;              ///< LessIsMore's merge of the heads' lists (scope layer)
  std::vector<uint32_t> select_layers;  ///< ascending; empty: the profile's anchors
  uint32_t correct_every = 0;           ///< decode steps between KV corrections; 0: none
  // streaming, adore
  /// Rows that stay on the device. streaming: sinks, window and one chunk of a bulk pass; adore:
  /// once the bulk pass is over, budget, rebuild and the newest; 0: all.
  uint32_t kept = 0;
  // recycled, composed
  uint32_t stride = 0;       ///< a full step every so many; 0: by similarity
  uint32_t check_every = 0;  ///< decode steps between checks of similarity; 0: never
  float similarity = 0;      ///< above it a check step stays partial
  uint32_t pool = 7;         ///< width of the max pool over scores, odd
  bool score_only = false;   ///< a refresh attends to the new set only
  bool post_rope = false;    ///< similarity of rotated queries
  bool self_candidate = true;
  // anchored
  DigestKind digest = DigestKind::kNone;
  bool left_out = false;     ///< one pseudo-token for each run of 64 tokens stands for the unread
  float boost = 0;           ///< e: scores of recently chosen tokens count (1 + e) times
  uint32_t boost_steps = 0;  ///< m: chosen in one of the last m steps
  bool predict = false;      ///< sets of a whole segment from predicted queries (PredQ)
  /// By layer: tokens of the set that it reads, instead of K, which is their mean; empty: K.
  std::vector<uint32_t> layer_budgets;
  // adore
  uint32_t rebuild = 0;   ///< R: released tokens that come back in every step
  bool restores = false;  ///< their KV is kept and comes back; false: computed again
  friend bool operator==(const PolicyParams&, const PolicyParams&) = default;
};

struct TokenBias {
  TokenId token = 0;
  float bias = 0;  ///< added to the logit
  friend bool operator==(const TokenBias&, const TokenBias&) = default;
};

/// Random numbers are keyed by seed and position, never by batch. docs/sampling.md has the formulas
/// and their order.
struct SamplingParams {
  float temperature = 1.0f;  ///< 0: greedy
  uint32_t top_k = 0;        ///< 0: off
  float top_p = 1.0f;
  uint64_t seed = 0;
  int32_t logprobs = -1;             ///< -1: none; n >= 0: the chosen token's and the n best
  bool prompt_logprobs = false;      ///< of every prompt token but the first (echo + logprobs)
  std::vector<TokenId> stop_tokens;  ///< these end the sequence (the worker reports `finished`)
  float min_p = 0;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<TokenBias> logit_bias;  ///< tokens are distinct
  uint32_t min_tokens = 0;            ///< before these, no stop token is sampled
  uint32_t prompt_top = 0;            ///< best ones with each scored prompt token, if over logprobs
  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

/// What the generated text must be like; `source` as models/grammar/constraint.h has it.
enum class ConstraintKind : uint8_t { kNone, kJsonObject, kJsonSchema, kRegex, kChoice };
struct Constraint {
  ConstraintKind kind = ConstraintKind::kNone;
  std::string source;
  friend bool operator==(const Constraint&, const Constraint&) = default;
};

/// A sequence exists on the workers from here to its CloseUnit.
struct OpenUnit {
  SeqId seq;
  std::vector<TokenId> prompt;
  uint32_t max_tokens = 0;
  /// Prompt tokens from here on are teacher-forced through the decode path; prompt.size(): none.
  uint32_t decode_from = 0;
  PolicyParams policy;
  SamplingParams sampling;
  std::string salt;  ///< tenant salt of content keys
  bool trace_selection = false;
  Constraint constraint;
  friend bool operator==(const OpenUnit&, const OpenUnit&) = default;
};

/// Dense attention over many tokens: tokens [begin, end) through layers [begin, end). Layers that
/// do not start at 0 take their input from the kept activations; layers that do not end at the last
/// leave theirs there.
struct BulkUnit {
  SeqId seq;
  TokenRange tokens;
  LayerRange layers;
  friend bool operator==(const BulkUnit&, const BulkUnit&) = default;
};

/// Gives up device rows of follower bands: seal, put, wait for `accepted`, compact what stays into
/// hot pools.
struct ReleaseUnit {
  SeqId seq;
  std::vector<uint16_t> bands;
  uint32_t hot_tokens = 0;  ///< rows that each band keeps
  friend bool operator==(const ReleaseUnit&, const ReleaseUnit&) = default;
};

/// One token for each sequence.
struct DecodeUnit {
  std::vector<SeqId> seqs;
  friend bool operator==(const DecodeUnit&, const DecodeUnit&) = default;
};

/// Ends a sequence: frees blocks, drops holds in the stores; the answer carries its last map.
struct CloseUnit {
  SeqId seq;
  friend bool operator==(const CloseUnit&, const CloseUnit&) = default;
};

enum class UnitKind : uint8_t { kOpen, kBulk, kRelease, kDecode, kClose };
/// One unit of work; all ranks of a group run the same units in the same order. Exactly the member
/// that `kind` names is used.
struct Unit {
  Epoch epoch;
  UnitId id;
  UnitKind kind = UnitKind::kDecode;
  OpenUnit open;
  BulkUnit bulk;
  ReleaseUnit release;
  DecodeUnit decode;
  CloseUnit close;
  friend bool operator==(const Unit&, const Unit&) = default;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top;  ///< best first
  uint32_t rank = 0;  ///< 1: none is more probable; 0: not counted (only prompt tokens are)
  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

/// One set that a layer chose in one step: what `trace: "selection"` returns.
struct SelectionTrace {
  uint32_t anchor = 0;
  std::vector<Position> positions;  ///< ascending, sinks and window included
  SetScope scope = SetScope::kLayer;
  uint32_t head = 0;  ///< of the whole model, by scope; 0 for kLayer
  friend bool operator==(const SelectionTrace&, const SelectionTrace&) = default;
};

/// Counters of one sequence, since it was opened. Records are of this rank.
struct SequenceCounters {
  uint64_t released_records = 0;
  uint64_t restored_host_records = 0;
  uint64_t restored_ssd_records = 0;
  uint64_t restored_bytes = 0;
  uint64_t selected_tokens = 0;    ///< sum over steps and anchors
  uint64_t hot_hits = 0;           ///< selected records found on the device
  uint64_t device_blocks = 0;      ///< now
  uint64_t device_blocks_max = 0;  ///< high-water mark
  uint64_t rebuilt_tokens = 0;     ///< released ones that came back (adore)
  friend bool operator==(const SequenceCounters&, const SequenceCounters&) = default;
};

struct SequenceResult {
  SeqId seq;
  bool has_token = false;  ///< rank 0 only
  bool finished = false;   ///< the token is a stop token
  TokenLogprob token;      ///< logprob valid when asked for
  /// log-probabilities of prompt tokens that this unit scored, in order
  std::vector<TokenLogprob> prompt;
  std::vector<SelectionTrace> trace;
  SequenceCounters counters;
  bool complete = false;  ///< the constraint allows nothing behind the token: it is the last
  /// Instead of a token: why none can be sampled. The sequence is over, the unit went well.
  std::string problem;
  friend bool operator==(const SequenceResult&, const SequenceResult&) = default;
};

/// seq 0: the whole unit failed (the group is unusable).
struct UnitFailure {
  SeqId seq;
  Error error;
  friend bool operator==(const UnitFailure& a, const UnitFailure& b) {
    return a.seq == b.seq && a.error.code == b.error.code && a.error.message == b.error.message;
  }
};

/// Where every token of a sequence lives, by band, as one rank sees it.
/// kForgotten: given up for good, as its policy wants it.
enum class Place : uint8_t { kDevice, kHost, kSsd, kMissing, kForgotten };
struct PlaceRun {
  Position begin = 0;
  uint32_t count = 0;
  Place place = Place::kDevice;
  bool exact = true;  ///< made by dense attention over exact KV
  friend bool operator==(const PlaceRun&, const PlaceRun&) = default;
};
struct BandMap {
  uint16_t band = 0;
  LayerRange layers;
  bool hot = false;            ///< hot pool; false: all on the device
  uint32_t record_bytes = 0;   ///< of all ranks together
  std::vector<PlaceRun> runs;  ///< ascending, together [0, length)
  friend bool operator==(const BandMap&, const BandMap&) = default;
};
struct SequenceMap {
  SeqId seq;
  uint32_t length = 0;  ///< tokens with KV
  PolicyParams policy;
  std::vector<BandMap> bands;
  SequenceCounters counters;
  friend bool operator==(const SequenceMap&, const SequenceMap&) = default;
};

struct UnitResult {
  UnitId id;
  uint32_t rank = 0;
  std::vector<SequenceResult> sequences;
  std::vector<UnitFailure> failures;
  std::vector<SequenceMap> maps;  ///< of a CloseUnit: the last one
  uint64_t arena_blocks_used = 0;
  uint64_t arena_blocks_max = 0;  ///< high-water mark since the group formed
  friend bool operator==(const UnitResult&, const UnitResult&) = default;
};

/// A rank's best unforced candidates of one sequence at one anchor.
struct Candidates {
  SeqId seq;
  uint32_t take = 0;                ///< how many the merged set has (K less the forced ones)
  std::vector<Position> positions;  ///< best first
  std::vector<float> scores;
  friend bool operator==(const Candidates&, const Candidates&) = default;
};
struct PublishRequest {
  Epoch epoch;
  UnitId unit;
  uint32_t rank = 0;
  uint32_t anchor = 0;
  std::vector<Candidates> sequences;
  friend bool operator==(const PublishRequest&, const PublishRequest&) = default;
};
/// The merged set, the same bytes for every rank; stamped by the request's epoch, unit and anchor.
struct MergedSet {
  SeqId seq;
  std::vector<Position> positions;  ///< ascending, forced ones not included
  friend bool operator==(const MergedSet&, const MergedSet&) = default;
};
struct PublishReply {
  std::vector<MergedSet> sequences;
  friend bool operator==(const PublishReply&, const PublishReply&) = default;
};

/// A store's answer to the coordinator.
struct TierStatus {
  std::string tier;  ///< "host", "ssd"
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t granules = 0;
  uint64_t held_granules = 0;  ///< may not be evicted
  uint64_t evictions = 0;
  bool writable = true;
  std::string note;  ///< why not writable
  friend bool operator==(const TierStatus&, const TierStatus&) = default;
};
struct StoreStatus {
  std::string name;
  uint64_t pid = 0;
  std::vector<TierStatus> tiers;
  uint64_t puts = 0, gets = 0, misses = 0, corrupt = 0;
  friend bool operator==(const StoreStatus&, const StoreStatus&) = default;
};

/// Asks a store for one page of what it keeps.
struct GranuleQuery {
  std::optional<SeqId> seq = std::nullopt;  ///< only what is held for it
  uint32_t limit = 0;
  std::string cursor = "";  ///< GranulePage::next of the page before; empty: the first
  friend bool operator==(const GranuleQuery&, const GranuleQuery&) = default;
};
struct GranuleState {
  std::string digest;  ///< hexadecimal
  uint32_t band = 0;
  uint32_t head_begin = 0, head_end = 0;
  bool is_private = false;
  Position first = 0;  ///< position of the first record
  uint32_t records = 0;
  uint64_t bytes = 0;
  bool on_host = false, on_ssd = false;
  bool durable = false;
  uint32_t holders = 0;
  friend bool operator==(const GranuleState&, const GranuleState&) = default;
};
struct GranulePage {
  std::vector<GranuleState> granules;
  std::string next;  ///< opaque; empty: this was the last page
  friend bool operator==(const GranulePage&, const GranulePage&) = default;
};

}  // namespace ebb::control
