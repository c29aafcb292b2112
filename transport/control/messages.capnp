# The data of Ebb's control protocol. messages.h has the same structs for the rest of the program;
# codec.cpp turns one into the other. control.capnp has the calls that carry them.
#
# Rules of evolution. Fields are only ever added, at the end; a field never changes its meaning. A
# change that an old peer would misread raises kProtocolVersion in messages.h, and peers of
# different versions refuse each other in the handshake: there is no translation between versions.
#
# Numbers that name things (sequence, epoch, unit) are 64-bit and minted by the coordinator. Token
# positions count from 0; ranges are half-open. A digest is 16 bytes of a cut SHA-256. Sizes are
# bytes unless a name says otherwise.
@0xbfb9692af244d70f;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ebb::control::wire");

# A refusal or a failure, as a value. `code` is the C++ enumerator's index in base/result.h; a
# reader that does not know a code takes it as "internal". `message` is a sentence for a person and
# never holds a token or prompt text.
struct Error {
  code @0 :UInt16;
  message @1 :Text;
}

struct TokenRange {
  begin @0 :UInt32;
  end @1 :UInt32;
}

struct LayerRange {
  begin @0 :UInt16;
  end @1 :UInt16;
}

struct HostPort {
  host @0 :Text;
  port @1 :UInt16;
}

# --- Handshake ------------------------------------------------------------------------------------

# First words of a worker. The cluster token is compared before anything else is looked at.
struct WorkerHello {
  protocolVersion @0 :UInt32;
  clusterToken @1 :Text;
  node @2 :Text;
  group @3 :Text;
  rank @4 :UInt32;
  pid @5 :UInt64;
  modelDigest @6 :Data;
  backend @7 :Text;
}

# --- Groups ---------------------------------------------------------------------------------------

struct StoreAddress {
  name @0 :Text;
  data @1 :HostPort;
}

# A new incarnation of a group. Everything of an older epoch is dropped by who receives this.
struct FormGroup {
  epoch @0 :UInt64;
  rank @1 :UInt32;
  ranks @2 :UInt32;
  profileYaml @3 :Text;
  granuleTokens @4 :UInt32;
  deviceKvBytes @5 :UInt64;      # of the whole group
  maxModelLen @6 :UInt32;
  stores @7 :List(StoreAddress);
  vocabularyDigest @8 :Data;
  vocabulary @9 :Data;           # packed token table, or empty: the one sent before
}

struct FormReply {
  layout @0 :Data;
  arenaBlocks @1 :UInt32;
  storeConnected @2 :Bool;
}

# --- Units of work --------------------------------------------------------------------------------

enum PolicyKind {
  dense @0;
  tidal @1;
  streaming @2;
  recycled @3;
  composed @4;
  anchored @5;
  adore @6;
}

enum DigestKind {
  none @0;
  int4 @1;
  h3 @2;
  h2 @3;
}

enum SetScope {
  layer @0;
  kvHead @1;
  queryHead @2;
}

# K (`budget`) counts sinks and window.
struct PolicyParams {
  kind @0 :PolicyKind;
  budget @1 :UInt32;
  sinks @2 :UInt32;
  window @3 :UInt32;
  scope @4 :SetScope;
  rankUnion @5 :Bool;
  selectLayers @6 :List(UInt32);
  correctEvery @7 :UInt32;
  kept @8 :UInt32;
  stride @9 :UInt32;
  checkEvery @10 :UInt32;
  similarity @11 :Float32;
  pool @12 :UInt32;
  scoreOnly @13 :Bool;
  postRope @14 :Bool;
  selfCandidate @15 :Bool;
  digest @16 :DigestKind;
  leftOut @17 :Bool;
  boost @18 :Float32;
  boostSteps @19 :UInt32;
  predict @20 :Bool;
  rebuild @21 :UInt32;
  restores @22 :Bool;
  layerBudgets @23 :List(UInt32);
}

struct TokenBias {
  token @0 :Int32;
  bias @1 :Float32;
}

# `logprobs` -1: none. `temperature` 0: greedy. Defaults change nothing.
struct SamplingParams {
  temperature @0 :Float32;
  topK @1 :UInt32;
  topP @2 :Float32;
  seed @3 :UInt64;
  logprobs @4 :Int32;
  promptLogprobs @5 :Bool;
  stopTokens @6 :List(Int32);
  minP @7 :Float32;
  typicalP @8 :Float32 = 1;
  repetitionPenalty @9 :Float32 = 1;
  presencePenalty @10 :Float32;
  frequencyPenalty @11 :Float32;
  logitBias @12 :List(TokenBias);
  minTokens @13 :UInt32;
  promptTop @14 :UInt32;
}

enum ConstraintKind {
  none @0;
  jsonObject @1;
  jsonSchema @2;
  regex @3;
  choice @4;
}

# What the generated text must be like; compiled again by rank 0.
struct Constraint {
  kind @0 :ConstraintKind;
  source @1 :Data;
}

# A sequence exists on the workers from here to its close. Prompt tokens from `decodeFrom` on are
# teacher-forced through the decode path.
struct OpenUnit {
  seq @0 :UInt64;
  prompt @1 :List(Int32);
  maxTokens @2 :UInt32;
  decodeFrom @3 :UInt32;
  policy @4 :PolicyParams;
  sampling @5 :SamplingParams;
  salt @6 :Data;
  traceSelection @7 :Bool;
  constraint @8 :Constraint;
}

# Dense attention of `tokens` through `layers`.
struct BulkUnit {
  seq @0 :UInt64;
  tokens @1 :TokenRange;
  layers @2 :LayerRange;
}

# Give up the device rows of these follower bands but `hotTokens` of each.
struct ReleaseUnit {
  seq @0 :UInt64;
  bands @1 :List(UInt16);
  hotTokens @2 :UInt32;
}

# One token for each sequence.
struct DecodeUnit {
  seqs @0 :List(UInt64);
}

struct CloseUnit {
  seq @0 :UInt64;
}

# All ranks of a group get the same units in the same order; a unit of another epoch than the last
# FormGroup's is refused by the worker.
struct Unit {
  epoch @0 :UInt64;
  id @1 :UInt64;
  union {
    open @2 :OpenUnit;
    bulk @3 :BulkUnit;
    release @4 :ReleaseUnit;
    decode @5 :DecodeUnit;
    close @6 :CloseUnit;
  }
}

# --- Results --------------------------------------------------------------------------------------

struct TopToken {
  token @0 :Int32;
  logprob @1 :Float32;
}

struct TokenLogprob {
  token @0 :Int32;
  logprob @1 :Float32;
  top @2 :List(TopToken);        # best first
  rank @3 :UInt32;               # 1: the most probable; 0: not counted
}

struct SelectionTrace {
  anchor @0 :UInt32;
  positions @1 :List(UInt32);    # ascending
  scope @2 :SetScope;
  head @3 :UInt32;
}

# Of one rank, since the sequence was opened.
struct SequenceCounters {
  releasedRecords @0 :UInt64;
  restoredHostRecords @1 :UInt64;
  restoredSsdRecords @2 :UInt64;
  restoredBytes @3 :UInt64;
  selectedTokens @4 :UInt64;
  hotHits @5 :UInt64;
  deviceBlocks @6 :UInt64;
  deviceBlocksMax @7 :UInt64;
  rebuiltTokens @8 :UInt64;
}

# Tokens and log-probabilities come from rank 0 only.
struct SequenceResult {
  seq @0 :UInt64;
  hasToken @1 :Bool;
  finished @2 :Bool;
  token @3 :TokenLogprob;
  prompt @4 :List(TokenLogprob);
  trace @5 :List(SelectionTrace);
  counters @6 :SequenceCounters;
  complete @7 :Bool;             # the token is the last: the constraint allows nothing behind it
  problem @8 :Text;              # instead of a token: why none can be sampled
}

# seq 0: the whole unit failed.
struct UnitFailure {
  seq @0 :UInt64;
  error @1 :Error;
}

enum Place {
  device @0;
  host @1;
  ssd @2;
  missing @3;
  forgotten @4;
}

struct PlaceRun {
  begin @0 :UInt32;
  count @1 :UInt32;
  place @2 :Place;
  exact @3 :Bool;
}

struct BandMap {
  band @0 :UInt16;
  layers @1 :LayerRange;
  hot @2 :Bool;
  recordBytes @3 :UInt32;
  runs @4 :List(PlaceRun);
}

# Where every token of a sequence lives, by band, as one rank sees it.
struct SequenceMap {
  seq @0 :UInt64;
  length @1 :UInt32;
  policy @2 :PolicyParams;
  bands @3 :List(BandMap);
  counters @4 :SequenceCounters;
}

struct UnitResult {
  id @0 :UInt64;
  rank @1 :UInt32;
  sequences @2 :List(SequenceResult);
  failures @3 :List(UnitFailure);
  maps @4 :List(SequenceMap);
  arenaBlocksUsed @5 :UInt64;
  arenaBlocksMax @6 :UInt64;
}

# --- Selection ------------------------------------------------------------------------------------

# A rank's best candidates that are not forced (sinks and window never travel), best first; both
# lists are as long.
struct Candidates {
  seq @0 :UInt64;
  take @1 :UInt32;
  positions @2 :List(UInt32);
  scores @3 :List(Float32);
}

struct PublishRequest {
  epoch @0 :UInt64;
  unit @1 :UInt64;
  rank @2 :UInt32;
  anchor @3 :UInt32;
  sequences @4 :List(Candidates);
}

struct MergedSet {
  seq @0 :UInt64;
  positions @1 :List(UInt32);    # ascending
}

# The same for every rank.
struct PublishReply {
  sequences @0 :List(MergedSet);
}

# --- Stores ---------------------------------------------------------------------------------------

struct TierStatus {
  tier @0 :Text;
  capacityBytes @1 :UInt64;
  usedBytes @2 :UInt64;
  granules @3 :UInt64;
  heldGranules @4 :UInt64;
  evictions @5 :UInt64;
  writable @6 :Bool;
  note @7 :Text;
}

struct StoreStatus {
  name @0 :Text;
  pid @1 :UInt64;
  tiers @2 :List(TierStatus);
  puts @3 :UInt64;
  gets @4 :UInt64;
  misses @5 :UInt64;
  corrupt @6 :UInt64;
}

struct GranuleQuery {
  hasSeq @0 :Bool;
  seq @1 :UInt64;
  limit @2 :UInt32;
  cursor @3 :Text;
}

struct GranuleState {
  digest @0 :Text;
  band @1 :UInt32;
  headBegin @2 :UInt32;
  headEnd @3 :UInt32;
  isPrivate @4 :Bool;
  first @5 :UInt32;
  records @6 :UInt32;
  bytes @7 :UInt64;
  onHost @8 :Bool;
  onSsd @9 :Bool;
  durable @10 :Bool;
  holders @11 :UInt32;
}

struct GranulePage {
  granules @0 :List(GranuleState);
  next @1 :Text;                 # opaque to all but the store
}
