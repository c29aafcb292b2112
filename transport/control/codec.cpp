// Handshake, groups and units. Results, selection and stores are in codec_results.cpp.
#include "transport/control/codec.h"

#include <kj/debug.h>

#include <cstring>
#include <iterator>

namespace ebb::control {
// Static rather than in an unnamed namespace: fill_structs() finds write() by its argument types,
// and such a lookup does not see into unnamed namespaces. The wire carries the index of a Code;
// these two lists must stay in step with base/result.h.
constexpr Code kCodes[] = {Code::kInvalid,     Code::kNotFound,  Code::kExhausted,
                           Code::kUnavailable, Code::kTimeout,   Code::kCorrupt,
                           Code::kUnsupported, Code::kCancelled, Code::kInternal};

static uint16_t code_index(Code code) {
  uint16_t index = 0;
  while (kCodes[index] != code) ++index;
  return index;
}

static capnp::Data::Reader digest_bytes(const Digest& digest) {
  return {digest.bytes.data(), digest.bytes.size()};
}

static capnp::Data::Reader data_of(const std::string& bytes) {
  // Any bytes: a Text would end at a NUL.
  return {reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()};
}

static std::string read_data(capnp::Data::Reader from) {
  return {from.asChars().begin(), from.size()};
}

static Digest read_digest(capnp::Data::Reader from) {
  Digest digest;
  KJ_REQUIRE(from.size() == digest.bytes.size(), "a digest has 16 bytes", from.size());
  std::memcpy(digest.bytes.data(), from.begin(), digest.bytes.size());
  return digest;
}

static void write(const StoreAddress& from, wire::StoreAddress::Builder to) {
  to.setName(from.name);
  auto data = to.initData();
  data.setHost(from.data.host);
  data.setPort(from.data.port);
}

static StoreAddress read(wire::StoreAddress::Reader from) {
  StoreAddress to;
  to.name = to_string(from.getName());
  to.data.host = to_string(from.getData().getHost());
  to.data.port = from.getData().getPort();
  return to;
}

static void write(const TokenBias& from, wire::TokenBias::Builder to) {
  to.setToken(from.token);
  to.setBias(from.bias);
}

static void write(const SamplingParams& from, wire::SamplingParams::Builder to) {
  to.setTemperature(from.temperature);
  to.setTopK(from.top_k);
  to.setTopP(from.top_p);
  to.setSeed(from.seed);
  to.setLogprobs(from.logprobs);
  to.setPromptLogprobs(from.prompt_logprobs);
  fill(to.initStopTokens(static_cast<capnp::uint>(from.stop_tokens.size())), from.stop_tokens);
  to.setMinP(from.min_p);
  to.setTypicalP(from.typical_p);
  to.setRepetitionPenalty(from.repetition_penalty);
  to.setPresencePenalty(from.presence_penalty);
  to.setFrequencyPenalty(from.frequency_penalty);
  fill_structs(to.initLogitBias(static_cast<capnp::uint>(from.logit_bias.size())), from.logit_bias);
  to.setMinTokens(from.min_tokens);
  to.setPromptTop(from.prompt_top);
}

static SamplingParams read(wire::SamplingParams::Reader from) {
  SamplingParams to;
  to.temperature = from.getTemperature();
  to.top_k = from.getTopK();
  to.top_p = from.getTopP();
  to.seed = from.getSeed();
  to.logprobs = from.getLogprobs();
  to.prompt_logprobs = from.getPromptLogprobs();
  to.stop_tokens = numbers<TokenId>(from.getStopTokens());
  to.min_p = from.getMinP();
  to.typical_p = from.getTypicalP();
  to.repetition_penalty = from.getRepetitionPenalty();
  to.presence_penalty = from.getPresencePenalty();
  to.frequency_penalty = from.getFrequencyPenalty();
  for (const auto bias : from.getLogitBias()) {
    to.logit_bias.push_back({bias.getToken(), bias.getBias()});
  }
  to.min_tokens = from.getMinTokens();
  to.prompt_top = from.getPromptTop();
  return to;
}

// The wire's numbers are the program's.
static_assert(static_cast<int>(wire::ConstraintKind::CHOICE) ==
              static_cast<int>(ConstraintKind::kChoice));

static void write(const Constraint& from, wire::Constraint::Builder to) {
  to.setKind(static_cast<wire::ConstraintKind>(from.kind));
  to.setSource(data_of(from.source));
}

static Constraint read(wire::Constraint::Reader from) {
  const auto kind = static_cast<uint16_t>(from.getKind());
  KJ_REQUIRE(kind <= static_cast<uint16_t>(ConstraintKind::kChoice), "unknown constraint", kind);
  return {static_cast<ConstraintKind>(kind), read_data(from.getSource())};
}

static void write(const OpenUnit& from, wire::OpenUnit::Builder to) {
  to.setSeq(from.seq.value);
  fill(to.initPrompt(static_cast<capnp::uint>(from.prompt.size())), from.prompt);
  to.setMaxTokens(from.max_tokens);
  to.setDecodeFrom(from.decode_from);
  write(from.policy, to.initPolicy());
  write(from.sampling, to.initSampling());
  to.setSalt(data_of(from.salt));
  to.setTraceSelection(from.trace_selection);
  write(from.constraint, to.initConstraint());
}

static OpenUnit read(wire::OpenUnit::Reader from) {
  OpenUnit to;
  to.seq = {from.getSeq()};
  to.prompt = numbers<TokenId>(from.getPrompt());
  to.max_tokens = from.getMaxTokens();
  to.decode_from = from.getDecodeFrom();
  to.policy = read(from.getPolicy());
  to.sampling = read(from.getSampling());
  to.salt = read_data(from.getSalt());
  to.trace_selection = from.getTraceSelection();
  to.constraint = read(from.getConstraint());
  return to;
}

static void write(const BulkUnit& from, wire::BulkUnit::Builder to) {
  to.setSeq(from.seq.value);
  auto tokens = to.initTokens();
  tokens.setBegin(from.tokens.begin);
  tokens.setEnd(from.tokens.end);
  write(from.layers, to.initLayers());
}

static BulkUnit read(wire::BulkUnit::Reader from) {
  BulkUnit to;
  to.seq = {from.getSeq()};
  to.tokens = {from.getTokens().getBegin(), from.getTokens().getEnd()};
  KJ_REQUIRE(to.tokens.begin <= to.tokens.end, "tokens run backwards");
  to.layers = read(from.getLayers());
  return to;
}

static void write(const ReleaseUnit& from, wire::ReleaseUnit::Builder to) {
  to.setSeq(from.seq.value);
  fill(to.initBands(static_cast<capnp::uint>(from.bands.size())), from.bands);
  to.setHotTokens(from.hot_tokens);
}

static ReleaseUnit read(wire::ReleaseUnit::Reader from) {
  return {{from.getSeq()}, numbers<uint16_t>(from.getBands()), from.getHotTokens()};
}

static void write(const DecodeUnit& from, wire::DecodeUnit::Builder to) {
  auto seqs = to.initSeqs(static_cast<capnp::uint>(from.seqs.size()));
  for (size_t i = 0; i < from.seqs.size(); ++i) {
    seqs.set(static_cast<capnp::uint>(i), from.seqs[i].value);
  }
}

static DecodeUnit read(wire::DecodeUnit::Reader from) {
  DecodeUnit to;
  to.seqs.reserve(from.getSeqs().size());
  for (const uint64_t seq : from.getSeqs()) to.seqs.push_back({seq});
  return to;
}

std::string to_string(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

void write(const Error& from, wire::Error::Builder to) {
  to.setCode(code_index(from.code));
  to.setMessage(from.message);
}

Error read(wire::Error::Reader from) {
  const uint16_t index = from.getCode();
  return {index < std::size(kCodes) ? kCodes[index] : Code::kInternal,
          to_string(from.getMessage())};
}

void write(const LayerRange& from, wire::LayerRange::Builder to) {
  to.setBegin(from.begin);
  to.setEnd(from.end);
}

LayerRange read(wire::LayerRange::Reader from) {
  const LayerRange to{from.getBegin(), from.getEnd()};
  KJ_REQUIRE(to.begin <= to.end, "layers run backwards");
  return to;
}

void write(const WorkerHello& from, wire::WorkerHello::Builder to) {
  to.setProtocolVersion(from.protocol_version);
  to.setClusterToken(from.cluster_token);
  to.setNode(from.node);
  to.setGroup(from.group);
  to.setRank(from.rank);
  to.setPid(from.pid);
  to.setModelDigest(digest_bytes(from.model_digest));
  to.setBackend(from.backend);
}

WorkerHello read(wire::WorkerHello::Reader from) {
  WorkerHello to;
  to.protocol_version = from.getProtocolVersion();
  to.cluster_token = to_string(from.getClusterToken());
  to.node = to_string(from.getNode());
  to.group = to_string(from.getGroup());
  to.rank = from.getRank();
  to.pid = from.getPid();
  to.model_digest = read_digest(from.getModelDigest());
  to.backend = to_string(from.getBackend());
  return to;
}

void write(const FormGroup& from, wire::FormGroup::Builder to) {
  to.setEpoch(from.epoch.value);
  to.setRank(from.rank);
  to.setRanks(from.ranks);
  to.setProfileYaml(from.profile_yaml);
  to.setGranuleTokens(from.granule_tokens);
  to.setDeviceKvBytes(from.device_kv_bytes);
  to.setMaxModelLen(from.max_model_len);
  fill_structs(to.initStores(static_cast<capnp::uint>(from.stores.size())), from.stores);
  to.setVocabularyDigest(digest_bytes(from.vocabulary_digest));
  to.setVocabulary(data_of(from.vocabulary));
}

FormGroup read(wire::FormGroup::Reader from) {
  FormGroup to;
  to.epoch = {from.getEpoch()};
  to.rank = from.getRank();
  to.ranks = from.getRanks();
  to.profile_yaml = to_string(from.getProfileYaml());
  to.granule_tokens = from.getGranuleTokens();
  to.device_kv_bytes = from.getDeviceKvBytes();
  to.max_model_len = from.getMaxModelLen();
  for (const auto store : from.getStores()) to.stores.push_back(read(store));
  to.vocabulary_digest = read_digest(from.getVocabularyDigest());
  to.vocabulary = read_data(from.getVocabulary());
  return to;
}

void write(const FormReply& from, wire::FormReply::Builder to) {
  to.setLayout(digest_bytes(from.layout));
  to.setArenaBlocks(from.arena_blocks);
  to.setStoreConnected(from.store_connected);
}

FormReply read(wire::FormReply::Reader from) {
  return {read_digest(from.getLayout()), from.getArenaBlocks(), from.getStoreConnected()};
}

// The wire's enumerations list the same names in the same order.
static_assert(static_cast<uint16_t>(wire::PolicyKind::ADORE) ==
              static_cast<uint16_t>(PolicyKind::kAdore));
static_assert(static_cast<uint16_t>(wire::SetScope::QUERY_HEAD) ==
              static_cast<uint16_t>(SetScope::kQueryHead));

static_assert(static_cast<uint16_t>(wire::DigestKind::H2) ==
              static_cast<uint16_t>(DigestKind::kH2));

SetScope scope_from_wire(wire::SetScope scope) {
  KJ_REQUIRE(static_cast<uint16_t>(scope) < std::size(kSetScopes), "unknown scope",
             static_cast<uint16_t>(scope));
  return static_cast<SetScope>(scope);
}

void write(const PolicyParams& from, wire::PolicyParams::Builder to) {
  to.setKind(static_cast<wire::PolicyKind>(from.kind));
  to.setBudget(from.budget);
  to.setSinks(from.sinks);
  to.setWindow(from.window);
  to.setScope(static_cast<wire::SetScope>(from.scope));
  to.setRankUnion(from.rank_union);
  fill(to.initSelectLayers(static_cast<capnp::uint>(from.select_layers.size())),
       from.select_layers);
  to.setCorrectEvery(from.correct_every);
  to.setKept(from.kept);
  to.setStride(from.stride);
  to.setCheckEvery(from.check_every);
  to.setSimilarity(from.similarity);
  to.setPool(from.pool);
  to.setScoreOnly(from.score_only);
  to.setPostRope(from.post_rope);
  to.setSelfCandidate(from.self_candidate);
  to.setDigest(static_cast<wire::DigestKind>(from.digest));
  to.setLeftOut(from.left_out);
  to.setBoost(from.boost);
  to.setBoostSteps(from.boost_steps);
  to.setPredict(from.predict);
  fill(to.initLayerBudgets(static_cast<capnp::uint>(from.layer_budgets.size())),
       from.layer_budgets);
  to.setRebuild(from.rebuild);
  to.setRestores(from.restores);
}

PolicyParams read(wire::PolicyParams::Reader from) {
  KJ_REQUIRE(static_cast<uint16_t>(from.getKind()) < std::size(kPolicyKinds), "unknown policy",
             static_cast<uint16_t>(from.getKind()));
  KJ_REQUIRE(static_cast<uint16_t>(from.getDigest()) < std::size(kDigestKinds), "unknown digest",
             static_cast<uint16_t>(from.getDigest()));
  PolicyParams to;
  to.kind = static_cast<PolicyKind>(from.getKind());
  to.budget = from.getBudget();
  to.sinks = from.getSinks();
  to.window = from.getWindow();
  to.scope = scope_from_wire(from.getScope());
  to.rank_union = from.getRankUnion();
  to.select_layers = numbers<uint32_t>(from.getSelectLayers());
  to.correct_every = from.getCorrectEvery();
  to.kept = from.getKept();
  to.stride = from.getStride();
  to.check_every = from.getCheckEvery();
  to.similarity = from.getSimilarity();
  to.pool = from.getPool();
  to.score_only = from.getScoreOnly();
  to.post_rope = from.getPostRope();
  to.self_candidate = from.getSelfCandidate();
  to.digest = static_cast<DigestKind>(from.getDigest());
  to.left_out = from.getLeftOut();
  to.boost = from.getBoost();
  to.boost_steps = from.getBoostSteps();
  to.predict = from.getPredict();
  to.layer_budgets = numbers<uint32_t>(from.getLayerBudgets());
  to.rebuild = from.getRebuild();
  to.restores = from.getRestores();
  return to;
}

void write(const Unit& from, wire::Unit::Builder to) {
  to.setEpoch(from.epoch.value);
  to.setId(from.id.value);
  switch (from.kind) {
    case UnitKind::kOpen:
      return write(from.open, to.initOpen());
    case UnitKind::kBulk:
      return write(from.bulk, to.initBulk());
    case UnitKind::kRelease:
      return write(from.release, to.initRelease());
    case UnitKind::kDecode:
      return write(from.decode, to.initDecode());
    case UnitKind::kClose:
      return to.initClose().setSeq(from.close.seq.value);
  }
}

Unit read(wire::Unit::Reader from) {
  Unit to;
  to.epoch = {from.getEpoch()};
  to.id = {from.getId()};
  switch (from.which()) {
    case wire::Unit::OPEN:
      to.kind = UnitKind::kOpen;
      to.open = read(from.getOpen());
      return to;
    case wire::Unit::BULK:
      to.kind = UnitKind::kBulk;
      to.bulk = read(from.getBulk());
      return to;
    case wire::Unit::RELEASE:
      to.kind = UnitKind::kRelease;
      to.release = read(from.getRelease());
      return to;
    case wire::Unit::DECODE:
      to.kind = UnitKind::kDecode;
      to.decode = read(from.getDecode());
      return to;
    case wire::Unit::CLOSE:
      to.kind = UnitKind::kClose;
      to.close.seq = {from.getClose().getSeq()};
      return to;
  }
  KJ_FAIL_REQUIRE("unknown unit", static_cast<uint16_t>(from.which()));
}

}  // namespace ebb::control
