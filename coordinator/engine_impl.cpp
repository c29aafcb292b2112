// Life of the engine and of a unit. What can be asked of it is in engine_status.cpp.
#include "coordinator/engine_impl.h"

#include <algorithm>

#include "base/log.h"
#include "base/wait.h"

namespace ebb::coordinator {
namespace {

/// After the first rank's failure: how long the others may take to show a better cause.
constexpr Millis kCauseTime{1000};
/// How long drain() waits for the loop to tell everybody that time is up.
constexpr Millis kEndTime{5000};

std::string control_folder(const ClusterConfig& config) {
  return effective_run_dir(config) + "/coordinator";
}

Result<uint32_t> effective_max_model_len(const ClusterConfig& config,
                                         const models::ModelShape& shape) {
  if (config.model.max_model_len > shape.context_length) {
    return invalid("model.max_model_len: " + std::to_string(config.model.max_model_len) +
                   " is more than the model's context of " + std::to_string(shape.context_length));
  }
  return config.model.max_model_len != 0 ? config.model.max_model_len : shape.context_length;
}

std::vector<std::string> group_names(const ClusterPlan& plan) {
  std::vector<std::string> names;
  for (const auto& group : plan.groups) names.push_back(group.name);
  return names;
}

/// A default that requests may not have would refuse them all.
Result<void> check_default_policy(const PolicyConfig& config, bool has_controller) {
  if (config.name == control::policy_name(control::PolicyKind::kAdore) && !has_controller) {
    return invalid("policy.name: adore needs model.controller");
  }
  const auto allowed = EBB_TRY(allowed_policies(config));
  for (const auto kind : allowed) {
    if (config.name == control::policy_name(kind)) return {};
  }
  return invalid("policy.name: " + config.name + " is not in policy.allowed");
}

Result<RequestRules> make_rules(const ClusterConfig& config, const models::ModelShape& shape,
                                const models::SelectionProfile& profile) {
  RequestRules rules;
  rules.shape = shape;
  rules.profile = profile;
  rules.max_model_len = EBB_TRY(effective_max_model_len(config, shape));
  rules.policy = config.policy;
  rules.has_controller = !config.model.controller.empty();
  EBB_TRY_VOID(check_default_policy(config.policy, rules.has_controller));
  rules.chunk_tokens = config.coordinator.chunk_tokens;
  rules.hot_tokens = config.worker.hot_tokens;
  rules.release = config.worker.release == "always" ? ReleaseWhen::kAlways : ReleaseWhen::kPressure;
  return rules;
}

}  // namespace

// --- Start and end ----------------------------------------------------------------------------

Result<std::unique_ptr<EngineImpl>> EngineImpl::start(const ClusterConfig& config,
                                                      const models::ModelShape& shape,
                                                      const models::SelectionProfile& profile,
                                                      Metrics& metrics, std::string vocabulary) {
  const auto fits = models::check_made_for(profile, shape.name, shape.layers);
  if (!fits) return with_context("model.profile", fits.error());
  auto rules = EBB_TRY(make_rules(config, shape, profile));
  ClusterPlan plan;
  std::vector<Group> groups;
  const SchedulerLimits limits{config.coordinator.max_num_seqs, config.coordinator.queue_max,
                               config.coordinator.chunk_tokens};
  for (const GroupConfig& of_config : config.groups) {
    Group group;
    group.layout = EBB_TRY(models::make_layout(
        shape, profile.bands(), of_config.tensor_parallel_size, config.worker.granule_tokens));
    group.arena =
        EBB_TRY(make_arena_model(group.layout, profile, of_config.device_kv_size, shape.width));
    group.scheduler = std::make_unique<Scheduler>(group.arena, limits);
    plan.groups.push_back(
        {of_config.name, of_config.device_kv_size, group.layout, group.arena.blocks});
    groups.push_back(std::move(group));
  }
  plan.model_digest = shape.digest;
  plan.profile_yaml = models::print_selection_profile(profile);
  plan.max_model_len = rules.max_model_len;
  plan.vocabulary = std::move(vocabulary);
  plan.form_time = config.worker.collective_deadline + Millis(15000);
  for (const StoreConfig& store : config.stores) {
    plan.stores.push_back({store.name, store.data_address});
  }
  auto state = EBB_TRY(StateFile::open(control_folder(config)));
  auto engine = std::unique_ptr<EngineImpl>(new EngineImpl(
      config, std::move(rules), std::move(groups), std::move(plan), std::move(state), metrics));
  EBB_TRY_VOID(engine->listen());
  return engine;
}

EngineImpl::EngineImpl(const ClusterConfig& config, RequestRules rules, std::vector<Group> groups,
                       ClusterPlan plan, std::unique_ptr<StateFile> state, Metrics& metrics)
    : config_(config),
      rules_(std::move(rules)),
      state_(std::move(state)),
      metrics_(metrics, group_names(plan)),
      loop_("ebb-engine"),
      cluster_(loop_, std::move(plan), *state_, board_, rendezvous_,
               {[this](size_t group) { pump(group); },
                [this](size_t group, const std::string& why) { lost(group, why); }}),
      stores_(loop_, config_),
      groups_(std::move(groups)),
      kept_(config_.coordinator.kept_sequences) {}

Result<void> EngineImpl::listen() {
  server_ = EBB_TRY(control::ControlServer::listen(config_.coordinator.control_address,
                                                   config_.cluster_token,
                                                   config_.coordinator.heartbeat, handlers()));
  loop_.post([this] {
    stores_.start();
    refresh_metrics();
  });
  return {};
}

EngineImpl::~EngineImpl() {
  if (server_ != nullptr) {
    loop_.post([this] { end_all(unavailable("the coordinator is shutting down")); });
  }
  // Workers and stores first: their answers still find the loop. Then the loop, which runs what is
  // left.
  server_.reset();
  loop_.stop();
}

/// On the KJ thread. The board and the rendezvous are for any thread, so a publish takes no detour
/// over the loop.
control::CoordinatorHandlers EngineImpl::handlers() {
  control::CoordinatorHandlers handlers;
  handlers.on_worker = [this](std::shared_ptr<control::WorkerLink> link) {
    const std::string name = link_name(link->hello());
    auto admitted = cluster_.admit(std::move(link));
    if (!admitted) {
      log_warn("coordinator", "worker refused",
               {{"worker", name}, {"why", admitted.error().message}});
    }
    return admitted;
  };
  handlers.on_worker_gone = [this](const std::shared_ptr<control::WorkerLink>& link,
                                   const std::string& why) { cluster_.gone(link, why); };
  handlers.on_publish = [this](control::PublishRequest request, auto answer) {
    board_.publish(std::move(request), std::move(answer));
  };
  handlers.on_rendezvous_put = [this](const std::string& key, std::string value) {
    rendezvous_.put(key, std::move(value));
  };
  handlers.on_rendezvous_get = [this](const std::string& key, auto answer) {
    rendezvous_.get(key, std::move(answer));
  };
  return handlers;
}

// --- Requests ---------------------------------------------------------------------------------

Result<SeqId> EngineImpl::submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  if (loop_.on_this_thread()) return submit_here(std::move(request), std::move(sink));
  return wait_for<SeqId>([&](auto done) {
    const bool posted =
        loop_.post([&, done] { done(submit_here(std::move(request), std::move(sink))); });
    if (!posted) done(unavailable("the coordinator is shutting down"));
  });
}

std::optional<size_t> EngineImpl::least_loaded_group() const {
  std::optional<size_t> best;
  const auto load = [this](size_t group) {
    return groups_[group].scheduler->running() + groups_[group].scheduler->waiting();
  };
  for (size_t group = 0; group < groups_.size(); ++group) {
    if (!cluster_.ready(group)) continue;
    if (!best || load(group) < load(*best)) best = group;
  }
  return best;
}

Result<SeqId> EngineImpl::submit_here(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  if (draining_) return unavailable("the coordinator is draining");
  const auto group = least_loaded_group();
  if (!group) {
    const GroupState first = cluster_.describe(0);
    return unavailable("no group is ready: " + first.name + ": " + first.state);
  }
  const TimePoint now = Clock::now();
  const std::string request_id = request.request_id;
  auto checked = EBB_TRY(check_request(rules_, groups_[*group].arena, std::move(request)));
  Live live;
  live.group = *group;
  live.sink = std::move(sink);
  live.submitted_at = now;
  live.info.request_id = request_id;
  live.info.policy = control::policy_name(checked.open.policy.kind);
  live.info.budget = checked.open.policy.budget;
  live.info.prompt_tokens = static_cast<uint32_t>(checked.open.prompt.size());
  const SeqId seq = EBB_TRY(state_->mint_sequence());
  live.info.seq = seq;
  if (live_.empty()) progress_at_ = now;
  EBB_TRY_VOID(groups_[*group].scheduler->submit(seq, std::move(checked), now));
  live_.emplace(seq, std::move(live));
  {
    const std::lock_guard lock(drain_mutex_);
    ++live_count_;
  }
  pump(*group);
  return seq;
}

void EngineImpl::cancel(SeqId seq, FinishReason reason) {
  loop_.post([this, seq, reason] {
    const auto found = live_.find(seq);
    if (found == live_.end()) return;
    const size_t group = found->second.group;
    deliver(groups_[group].scheduler->cancel(seq, reason, Clock::now()));
    pump(group);
  });
}

// --- Units ------------------------------------------------------------------------------------

void EngineImpl::pump(size_t index) {
  Group& group = groups_[index];
  if (group.running || !cluster_.ready(index)) return;
  auto unit = group.scheduler->next(Clock::now());
  if (!unit) return;
  unit->epoch = cluster_.epoch(index);
  unit->id = {++group.last_unit};
  send(index, *unit);
}

void EngineImpl::send(size_t index, const control::Unit& unit) {
  Group& group = groups_[index];
  const auto& links = cluster_.links(index);
  group.running.emplace();
  group.running->id = unit.id;
  group.running->epoch = unit.epoch;
  group.running->kind = unit.kind;
  group.running->started = Clock::now();
  group.running->answers.resize(links.size());
  board_.expect(unit.epoch, unit.id);
  const bool is_step =
      unit.kind == control::UnitKind::kDecode || unit.kind == control::UnitKind::kClose;
  const Deadline by = Deadline::after(is_step ? config_.coordinator.step_deadline
                                              : config_.coordinator.unit_deadline);
  for (uint32_t rank = 0; rank < links.size(); ++rank) {
    auto answer = [this, index, id = unit.id, epoch = unit.epoch,
                   rank](Result<control::UnitResult> result) {
      loop_.post([this, index, id, epoch, rank, result = std::move(result)]() mutable {
        answered(index, id, epoch, rank, std::move(result));
      });
    };
    links[rank]->run(unit, by, std::move(answer));
  }
}

void EngineImpl::answered(size_t index, UnitId id, Epoch epoch, uint32_t rank,
                          Result<control::UnitResult> result) {
  Group& group = groups_[index];
  if (!group.running || group.running->id != id || group.running->epoch != epoch) return;
  Running& running = *group.running;
  if (result && (result->id != id || result->rank != rank)) {
    result = internal_error("answered as rank " + std::to_string(result->rank) + " to unit " +
                            std::to_string(result->id.value));
  }
  if (result) {
    const auto& failures = result->failures;
    const auto whole = std::find_if(failures.begin(), failures.end(),
                                    [](const auto& failure) { return failure.seq.value == 0; });
    if (whole != failures.end()) result = Error(whole->error);
  }
  const bool failed = !result;
  running.answers[rank] = std::move(result);
  const auto open = std::count(running.answers.begin(), running.answers.end(), std::nullopt);
  if (open == 0) return running.failing || failed ? unit_failed(index) : unit_complete(index);
  if (!failed || running.failing) return;
  running.failing = true;
  loop_.post_after(kCauseTime, [this, index, id, epoch] {
    const auto& now_running = groups_[index].running;
    if (now_running && now_running->id == id && now_running->epoch == epoch) unit_failed(index);
  });
}

void EngineImpl::unit_complete(size_t index) {
  Group& group = groups_[index];
  const Running running = std::move(*group.running);
  group.running.reset();
  std::vector<control::UnitResult> results;
  for (const auto& answer : running.answers) results.push_back(**answer);
  const UnitOutcome outcome = merge_results(group.layout, results);
  const TimePoint now = Clock::now();
  group.arena_used = outcome.arena_blocks_used;
  group.arena_max = outcome.arena_blocks_max;
  progress_at_ = now;
  metrics_.unit_finished(running.kind,
                         std::chrono::duration<double>(now - running.started).count());
  deliver(group.scheduler->finish(outcome, now));
  pump(index);
}

/// Names the rank whose connection broke or who was silent, rather than those that noticed.
void EngineImpl::unit_failed(size_t index) {
  Running& running = *groups_[index].running;
  std::optional<uint32_t> cause;
  std::vector<uint32_t> silent;
  for (uint32_t rank = 0; rank < running.answers.size(); ++rank) {
    const auto& answer = running.answers[rank];
    if (answer && *answer) continue;
    const bool timed_out = answer && answer->error().code == Code::kTimeout;
    if (timed_out) silent.push_back(rank);
    if (!answer) continue;
    const bool broken = answer->error().code == Code::kUnavailable;
    if (!cause || broken) cause = rank;
  }
  EBB_CHECK(cause.has_value());
  const std::string why =
      "rank " + std::to_string(*cause) + ": " + running.answers[*cause]->error().message;
  cluster_.lose(index, why, silent);
}

void EngineImpl::lost(size_t index, const std::string& why) {
  Group& group = groups_[index];
  group.running.reset();
  group.arena_used = 0;
  metrics_.group_lost(index);
  deliver(group.scheduler->lose_all(unavailable(why)));
}

// --- Events to sinks --------------------------------------------------------------------------

void EngineImpl::deliver(Events events) {
  for (Event& event : events) {
    std::visit([this](auto& of_kind) { take(of_kind); }, event);
  }
}

void EngineImpl::take(PromptScored& event) {
  live_.at(event.seq).sink->on_prompt(std::move(event.scored));
}

void EngineImpl::take(TokenMade& event) {
  Live& live = live_.at(event.seq);
  ++live.info.generated;
  live.sink->on_token(event.token, std::move(event.trace));
}

void EngineImpl::take(Finished& event) {
  Live& live = live_.at(event.seq);
  live.ended = true;
  live.info.state = "finished";
  live.info.tokens = live.info.prompt_tokens + live.info.generated;
  metrics_.sequence_ended(event.usage.counters);
  std::exchange(live.sink, nullptr)->on_finish(event.reason, event.usage);
}

void EngineImpl::take(Failed& event) {
  Live& live = live_.at(event.seq);
  live.ended = true;
  live.info.state = "failed";
  live.info.error = event.error.message;
  std::exchange(live.sink, nullptr)->on_error(event.error);
}

void EngineImpl::take(Closed& event) {
  const auto found = live_.find(event.seq);
  EBB_CHECK(found != live_.end() && found->second.ended);
  KeptSequence kept;
  kept.info = std::move(found->second.info);
  kept.submitted_at = found->second.submitted_at;
  if (event.map) kept.info.tokens = event.map->length;
  kept.map = std::move(event.map);
  kept_.add(std::move(kept));
  live_.erase(found);
  const std::lock_guard lock(drain_mutex_);
  --live_count_;
  drained_.notify_all();
}

/// The units that are out are forgotten with their sequences: what ranks still answer has no
/// reader.
void EngineImpl::end_all(const Error& error) {
  draining_ = true;
  for (Group& group : groups_) {
    group.running.reset();
    deliver(group.scheduler->lose_all(error));
  }
}

void EngineImpl::drain(Deadline by) {
  loop_.post([this] { draining_ = true; });
  const auto idle = [this] { return live_count_ == 0; };
  {
    std::unique_lock lock(drain_mutex_);
    if (drained_.wait_until(lock, by.at, idle)) return;
  }
  ask<bool>(kEndTime, [this] {
    end_all(unavailable("the coordinator is shutting down: drain_timeout has passed"));
    return true;
  });
}

}  // namespace ebb::coordinator
