#include "worker/engine.h"

#include <algorithm>

#include "base/log.h"
#include "models/layer_budgets.h"
#include "worker/attention/device_gru_scores.h"
#include "worker/group_collective.h"

namespace ebb::worker {

/// What lives as long as one epoch. Members are destroyed in reverse: sequences give their blocks
/// back first.
struct Engine::Incarnation {
  control::FormGroup form;
  models::SelectionProfile profile;
  models::KvLayout layout;
  SelectionExchange* exchange = nullptr;
  std::unique_ptr<KvMover> mover;
  std::unique_ptr<SlotLists> lists;
  std::unique_ptr<kvstore::Client> client;  ///< goes first: what it reads is the mover's
  std::map<uint64_t, std::unique_ptr<Sequence>> sequences;

  StepContext context(Engine& engine) {
    return {*engine.model_,
            engine.backend_,
            layout,
            profile,
            engine.kv_shape_,
            *engine.arena_,
            *mover,
            *lists,
            *exchange,
            form.epoch,
            form.rank,
            &engine.step_clock_,
            engine.options_.exchange_deadline,
            engine.observer_,
            engine.scorer_.get()};
  }
};

Result<std::unique_ptr<Engine>> Engine::make(EngineOptions options, kernels::Backend backend,
                                             const models::ModelFiles& files,
                                             const models::ModelShape& shape,
                                             data::Messenger* messenger, Metrics& metrics) {
  std::unique_ptr<Engine> engine(
      new Engine(options, std::move(backend), shape, messenger, metrics));
  EBB_TRY_VOID(engine->make_scorer());
  if (!engine->backend_.device->info().host_reachable && messenger != nullptr &&
      messenger->takes_device_memory()) {
    engine->landing_ = kernels::MemoryKind::kDevice;
  }
  engine->share_ = EBB_TRY(share_of_rank(shape, options.ranks, options.rank));
  engine->kv_shape_.heads_q = engine->share_.heads_q.size();
  engine->kv_shape_.heads_kv = engine->share_.heads_kv.size();
  engine->kv_shape_.head_size = shape.head_size;
  engine->kv_shape_.element =
      shape.kv_type == models::KvType::kF32 ? kernels::KvElement::kF32 : kernels::KvElement::kBF16;
  auto weights = EBB_TRY(load_weights(files, shape, engine->share_, *engine->backend_.ops));
  engine->model_ =
      EBB_TRY(Transformer::make(shape, engine->share_, engine->backend_, std::move(weights),
                                options.rows_max, shape.context_length));
  return engine;
}

Engine::Engine(EngineOptions options, kernels::Backend backend, const models::ModelShape& shape,
               data::Messenger* messenger, Metrics& metrics)
    : options_(std::move(options)),
      backend_(std::move(backend)),
      shape_(shape),
      messenger_(messenger),
      metrics_(metrics),
      units_(metrics.counter("ebb_worker_units_total", "Units of work that this rank ran.")),
      released_(metrics.counter("ebb_kv_released_records_total",
                                "Records whose device copy was given up.")),
      restored_host_(metrics.counter("ebb_kv_restored_records_total",
                                     "Records brought back to the device.", {{"tier", "host"}})),
      restored_ssd_(metrics.counter("ebb_kv_restored_records_total",
                                    "Records brought back to the device.", {{"tier", "ssd"}})),
      arena_used_(metrics.gauge("ebb_device_kv_used_bytes", "Bytes of the device arena in use.")),
      scores_used_(metrics.gauge("ebb_device_token_scores_bytes",
                                 "Device memory of policy adore's controller and its sequences.")) {
}

/// The device's, the host's or a test's.
Result<void> Engine::make_scorer() {
  scorer_ = options_.scorer;
  if (!scorer_ && options_.controller) {
    auto made = make_gru_scorer(*options_.controller, *backend_.ops);
    if (!made) return with_context("model.controller", made.error());
    scorer_ = std::move(*made);
  }
  options_.controller.reset();  // whoever scores has its own copy
  if (!scorer_ || scorer_->width() == shape_.width) return {};
  return invalid("model.controller: reads embeddings of " + std::to_string(scorer_->width()) +
                 " elements, the model's have " + std::to_string(shape_.width));
}

Engine::~Engine() { disband(); }

Result<control::FormReply> Engine::form(const control::FormGroup& group,
                                        collective::Rendezvous rendezvous,
                                        SelectionExchange& exchange) {
  disband();
  if (group.rank != options_.rank || group.ranks != options_.ranks) {
    return invalid("form: rank " + std::to_string(group.rank) + " of " +
                   std::to_string(group.ranks) + ", but this worker is rank " +
                   std::to_string(options_.rank) + " of " + std::to_string(options_.ranks));
  }
  auto next = std::make_unique<Incarnation>();
  next->form = group;
  next->exchange = &exchange;
  next->profile =
      EBB_TRY(models::parse_selection_profile(group.profile_yaml, "the coordinator's profile"));
  next->layout = EBB_TRY(
      models::make_layout(shape_, next->profile.bands(), group.ranks, group.granule_tokens));
  if (group.rank == 0) {
    EBB_TRY_VOID(sampling_.constraints.set_vocabulary(group.vocabulary_digest, group.vocabulary));
  }
  kv_shape_.block_tokens = group.granule_tokens;
  const uint64_t block_all = uint64_t{group.granule_tokens} * next->layout.row_bytes_all();
  const auto blocks =
      static_cast<uint32_t>(std::min<uint64_t>(group.device_kv_bytes / block_all, 0xfffffffeu));
  arena_.reset();
  auto arena = Arena::make(*backend_.device, kv_shape_, blocks);
  if (!arena) {
    EBB_TRY_VOID(check_device());
    return with_context("device_kv_size of " + std::to_string(group.device_kv_bytes) +
                            " bytes for " + std::to_string(group.ranks) + " ranks",
                        std::move(arena).error());
  }
  arena_ = std::move(*arena);

  collective::CollectiveOptions wanted;
  wanted.rank = group.rank;
  wanted.size = group.ranks;
  wanted.epoch = group.epoch;
  wanted.listen_host = options_.listen_host;
  wanted.call_deadline = options_.collective_deadline;
  wanted.form_by = Deadline::after(options_.collective_deadline);
  std::shared_ptr<collective::Collective> made = EBB_TRY(
      make_group_collective(wanted, std::move(rendezvous), options_.plugin, *backend_.device));
  {
    std::lock_guard lock(abort_mutex_);
    collective_ = made;
  }
  model_->set_collective(made.get());
  KvMover::Options mover{group.epoch, group.rank, options_.restore_deadline, landing_};
  next->mover = std::make_unique<KvMover>(next->layout, kv_shape_, backend_, mover);
  next->lists = std::make_unique<SlotLists>(backend_);
  EBB_TRY_VOID(check_device());
  group_ = std::move(next);
  connect_store(Deadline::after(Millis(2000)));
  log_info(
      "worker", "group formed",
      {{"epoch", group.epoch.value}, {"blocks", blocks}, {"store", group_->client != nullptr}});
  return control::FormReply{group_->layout.digest(), blocks, group_->client != nullptr};
}

void Engine::connect_store(Deadline by) {
  if (!group_ || group_->client || messenger_ == nullptr || group_->form.stores.empty()) return;
  kvstore::ClientIdentity identity;
  identity.cluster_token = options_.cluster_token;
  identity.node = options_.group + "/rank" + std::to_string(options_.rank);
  identity.group = options_.group;
  identity.epoch = group_->form.epoch;
  identity.layout = group_->layout.digest();
  for (uint32_t band = 0; band < group_->layout.bands.size(); ++band) {
    identity.record_bytes.push_back(group_->layout.record_bytes(options_.rank, band));
  }
  auto client = kvstore::Client::connect(*messenger_, group_->form.stores[0].data,
                                         std::move(identity), metrics_, by);
  if (!client) {
    log_warn("worker", "store not connected",
             {{"store", group_->form.stores[0].name}, {"why", client.error().text()}});
    group_->mover->set_problem(group_->form.stores[0].name + ": " + client.error().message);
    return;
  }
  group_->client = std::move(*client);
  group_->mover->set_client(group_->client.get());
}

void Engine::disband() {
  group_.reset();
  if (model_) model_->set_collective(nullptr);
  std::lock_guard lock(abort_mutex_);
  collective_.reset();
}

void Engine::abort(const std::string& why) {
  std::shared_ptr<collective::Collective> running;
  {
    std::lock_guard lock(abort_mutex_);
    running = collective_;
  }
  if (running) running->abort(why);
}

Result<Sequence*> Engine::find(SeqId seq) {
  auto found = group_->sequences.find(seq.value);
  if (found == group_->sequences.end()) {
    return not_found("sequence " + std::to_string(seq.value) + " is not open on rank " +
                     std::to_string(options_.rank));
  }
  return found->second.get();
}

Result<control::UnitResult> Engine::run(const control::Unit& unit) {
  if (!group_ || unit.epoch != group_->form.epoch) {
    return unavailable("unit of epoch " + std::to_string(unit.epoch.value) + ", but rank " +
                       std::to_string(options_.rank) + " is in epoch " +
                       std::to_string(group_ ? group_->form.epoch.value : 0));
  }
  control::UnitResult out;
  out.id = unit.id;
  out.rank = options_.rank;
  Result<void> ran = run_unit(unit, out);
  EBB_TRY_VOID(check_device());
  if (!ran) {
    log_error("worker", "unit failed", {{"unit", unit.id.value}, {"why", ran.error().text()}});
    out.failures.push_back({SeqId{0}, std::move(ran).error()});
  }
  for (const auto& failure : out.failures) {
    log_warn("worker", "sequence failed",
             {{"seq", failure.seq.value}, {"why", failure.error.text()}});
  }
  out.arena_blocks_used = arena_->used();
  out.arena_blocks_max = arena_->used_max();
  count(out);
  return out;
}

Result<void> Engine::check_device() {
  Result<void> state = backend_.device->synchronize();
  if (state) return state;
  std::lock_guard lock(abort_mutex_);
  if (!lost_) lost_ = state.error();
  return *lost_;
}

std::optional<Error> Engine::lost() {
  std::lock_guard lock(abort_mutex_);
  return lost_;
}

void Engine::count(const control::UnitResult& out) {
  units_.add();
  arena_used_.set(static_cast<double>(out.arena_blocks_used * arena_->block_bytes()));
  if (scorer_) scores_used_.set(static_cast<double>(scorer_->device_bytes()));
  for (const control::SequenceMap& map : out.maps) {
    released_.add(static_cast<double>(map.counters.released_records));
    restored_host_.add(static_cast<double>(map.counters.restored_host_records));
    restored_ssd_.add(static_cast<double>(map.counters.restored_ssd_records));
  }
}

Result<void> Engine::run_unit(const control::Unit& unit, control::UnitResult& out) {
  switch (unit.kind) {
    case control::UnitKind::kOpen:
      return open(unit.open, out);
    case control::UnitKind::kBulk:
      return bulk(unit, out);
    case control::UnitKind::kRelease:
      return release(unit.release, out);
    case control::UnitKind::kDecode:
      return decode(unit, out);
    case control::UnitKind::kClose:
      return close(unit.close, out);
  }
  return internal_error("unit of unknown kind");
}

Result<void> Engine::open(const control::OpenUnit& unit, control::UnitResult& out) {
  const auto fail = [&](Error why) {
    out.failures.push_back({unit.seq, std::move(why)});
    return Result<void>();
  };
  if (group_->sequences.contains(unit.seq.value)) return fail(invalid("sequence is open already"));
  if (unit.prompt.empty()) return fail(invalid("prompt: empty"));
  if (unit.decode_from == 0 || unit.decode_from > unit.prompt.size()) {
    return fail(invalid("decode_from: " + std::to_string(unit.decode_from) + " is not in [1, " +
                        std::to_string(unit.prompt.size()) + "]"));
  }
  const bool stream = unit.policy.kind == control::PolicyKind::kStreaming;
  if (!stream && unit.prompt.size() + unit.max_tokens > shape_.context_length) {
    return fail(invalid("prompt (" + std::to_string(unit.prompt.size()) + ") + max_tokens (" +
                        std::to_string(unit.max_tokens) + ") exceed the context of " +
                        std::to_string(shape_.context_length)));
  }
  for (TokenId id : unit.prompt) {
    if (id < 0 || static_cast<uint32_t>(id) >= shape_.vocabulary) {
      return fail(invalid("prompt: token " + std::to_string(id) + " is not in the vocabulary of " +
                          std::to_string(shape_.vocabulary)));
    }
  }
  auto policy = make_policy(group_->profile, unit.policy, shape_.windows);
  if (!policy) return fail(std::move(policy).error());
  if (stream && shape_.rope_dynamic_factor > 0) {
    return fail(
        invalid("policy streaming: the model's rotation depends on the length (dynamic NTK)"));
  }
  const bool by_kv_head =
      unit.policy.kind == control::PolicyKind::kRecycled || unit.policy.scope == SetScope::kKvHead;
  if (by_kv_head && options_.ranks > shape_.heads_kv) {
    return fail(invalid("policy " + std::string(control::policy_name(unit.policy.kind)) +
                        ": sets of KV heads need all query heads of a KV head on one rank; " +
                        std::to_string(options_.ranks) + " ranks share " +
                        std::to_string(shape_.heads_kv) + " KV heads"));
  }
  if ((*policy)->scores_tokens() && !scorer_) {
    return fail(invalid("policy " + std::string(control::policy_name(unit.policy.kind)) +
                        ": needs a controller for this model (model.controller)"));
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->open = unit;
  if ((*policy)->scores_tokens()) sequence->scores = scorer_->begin();
  if (options_.rank == 0) {
    auto sampling = SamplingState::make(sequence->open, shape_.vocabulary, sampling_);
    if (!sampling) return fail(std::move(sampling).error());
    sequence->sampling = std::move(*sampling);
  }
  sequence->tokens = unit.prompt;
  sequence->policy = std::move(*policy);
  sequence->kv = std::make_unique<SequenceKv>(*arena_, *backend_.ops, group_->layout, kv_shape_);
  sequence->exactness = Exactness(shape_.layers);
  auto aids = SelectionAids::make(*arena_, backend_, kv_shape_, *sequence->policy, shape_.layers);
  if (!aids) return fail(std::move(aids).error());
  sequence->aids = std::move(*aids);
  if (const auto pattern = sequence->policy->sinks_window()) {
    sequence->kv->make_ring(pattern->sinks, unit.policy.kept - pattern->sinks);
  }
  group_->sequences[unit.seq.value] = std::move(sequence);
  return {};
}

Result<void> Engine::bulk(const control::Unit& unit, control::UnitResult& out) {
  auto found = find(unit.bulk.seq);
  if (!found) {
    out.failures.push_back({unit.bulk.seq, found.error()});
    return {};
  }
  StepContext context = group_->context(*this);
  return run_bulk(context, unit.id, **found, unit.bulk, out);
}

Result<void> Engine::release(const control::ReleaseUnit& unit, control::UnitResult& out) {
  auto found = find(unit.seq);
  Result<void> released;
  if (!found) {
    released = found.error();
  } else if (!(*found)->policy->may_be_released()) {
    released =
        invalid(std::string("release: policy ") + control::policy_name((*found)->open.policy.kind) +
                " as it was asked for needs every row on the device");
  }
  connect_store(Deadline::after(Millis(500)));
  for (uint16_t band : unit.bands) {
    if (!released) break;
    if (band >= group_->layout.bands.size()) {
      released = invalid("release: band " + std::to_string(band) + " of " +
                         std::to_string(group_->layout.bands.size()));
      break;
    }
    const control::PolicyParams& policy = (*found)->open.policy;
    const uint32_t hot_tokens =
        models::band_hot_tokens(unit.hot_tokens, policy.budget, group_->layout.granule_tokens,
                                policy.layer_budgets, group_->layout.bands[band]);
    released = group_->mover->release(**found, band, hot_tokens, ++step_clock_);
  }
  if (!released) {
    out.failures.push_back({unit.seq, std::move(released).error()});
    return {};
  }
  control::SequenceResult result;
  result.seq = unit.seq;
  result.counters = (*found)->counters_now();
  out.sequences.push_back(std::move(result));
  return {};
}

Result<void> Engine::decode(const control::Unit& unit, control::UnitResult& out) {
  if (unit.decode.seqs.empty() || unit.decode.seqs.size() > options_.rows_max) {
    return invalid("decode unit: " + std::to_string(unit.decode.seqs.size()) + " sequences, 1 to " +
                   std::to_string(options_.rows_max) + " are possible");
  }
  std::vector<Sequence*> sequences;
  for (SeqId seq : unit.decode.seqs) {
    auto found = find(seq);
    // Every rank runs the same units, so every rank finds the same sequences missing.
    if (!found || (*found)->length == 0 || (*found)->length >= (*found)->tokens.size()) {
      out.failures.push_back(
          {seq, found ? invalid("decode before the bulk pass is done") : found.error()});
      continue;
    }
    sequences.push_back(*found);
  }
  if (!out.failures.empty()) return {};
  uint64_t rows = 0;
  for (const Sequence* sequence : sequences) rows += sequence->rows_of_step();
  if (rows > options_.rows_max) {
    return invalid("decode unit: " + std::to_string(rows) +
                   " rows, rebuilt tokens counted, at most " + std::to_string(options_.rows_max) +
                   " are possible");
  }
  StepContext context = group_->context(*this);
  return run_decode(context, unit.id, sequences, out);
}

control::SequenceMap Engine::map_of(Sequence& sequence) {
  control::SequenceMap map;
  map.seq = sequence.id();
  map.length = sequence.length;
  map.policy = sequence.open.policy;
  map.counters = sequence.counters_now();
  map.bands = group_->mover->describe(sequence);
  return map;
}

Result<control::SequenceMap> Engine::describe(SeqId seq) {
  if (!group_) return unavailable("no group formed");
  Sequence* sequence = EBB_TRY(find(seq));
  return map_of(*sequence);
}

Result<void> Engine::close(const control::CloseUnit& unit, control::UnitResult& out) {
  auto found = find(unit.seq);
  if (!found) {
    out.failures.push_back({unit.seq, found.error()});
    return {};
  }
  out.maps.push_back(map_of(**found));
  group_->mover->drop(**found);
  group_->sequences.erase(unit.seq.value);
  return {};
}

}  // namespace ebb::worker
