#include "score/local_group.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <optional>

#include "base/cluster_config.h"
#include "base/log.h"
#include "coordinator/api_context.h"
#include "coordinator/board.h"
#include "models/rope.h"
#include "worker/backend_choice.h"

namespace ebb::score {
namespace {

using coordinator::Scheduler;

/// One rank's candidates are everybody's.
class LoneExchange final : public worker::SelectionExchange {
 public:
  Result<control::PublishReply> publish(control::PublishRequest request, Deadline) override {
    control::PublishReply reply;
    for (const control::Candidates& candidates : request.sequences) {
      reply.sequences.push_back(
          {candidates.seq, coordinator::merge_candidates({&candidates}, candidates.take)});
    }
    return reply;
  }
};

collective::Rendezvous nobody_to_meet() {
  return {[](const std::string&, const std::string&) { return Result<void>(); },
          [](const std::string& key, Deadline) -> Result<std::string> { return not_found(key); }};
}

Result<models::SelectionProfile> profile_of(const LocalBackendOptions& options,
                                            const models::ModelShape& shape) {
  if (options.profile.empty()) return models::dense_profile(shape.layers, shape.name);
  auto profile = models::read_selection_profile(options.profile);
  if (!profile) return with_context("--profile", profile.error());
  const auto fits = models::check_made_for(*profile, shape.name, shape.layers);
  if (!fits) return with_context("--profile", fits.error());
  return profile;
}

/// Null: no controller is given.
Result<std::shared_ptr<const models::AdoreController>> controller_of(
    const LocalBackendOptions& options, const models::ModelShape& shape) {
  if (options.controller.empty()) return std::shared_ptr<const models::AdoreController>();
  auto controller = models::read_adore_controller_for(expand_path(options.controller), shape);
  if (!controller) return with_context("--controller", controller.error());
  return std::make_shared<const models::AdoreController>(std::move(*controller));
}

/// The last word on a sequence, and what came before it.
struct Collector {
  LocalRun& run;
  std::optional<Error> failed;
  void operator()(coordinator::PromptScored& event) {
    for (auto& scored : event.scored) run.scored.push_back(std::move(scored));
  }
  void operator()(coordinator::TokenMade& event) {
    run.tokens.push_back(std::move(event.token));
    run.traces.push_back(std::move(event.trace));
  }
  void operator()(coordinator::Finished& event) { run.usage = event.usage; }
  void operator()(coordinator::Failed& event) { failed = event.error; }
  void operator()(coordinator::Closed&) {}
};

}  // namespace

Result<LocalModel> open_local_model(const LocalBackendOptions& options) {
  LocalModel model;
  auto files = models::ModelFiles::open(expand_path(options.model));
  if (!files) return with_context("--model", files.error());
  model.files = *std::move(files);
  model.shape = EBB_TRY(models::shape_for_context(model.files->shape(), options.max_model_len));
  model.shape = EBB_TRY(models::shape_with_kv_type(model.shape, ModelConfig{}.kv_type));
  model.profile = EBB_TRY(profile_of(options, model.shape));
  model.controller = EBB_TRY(controller_of(options, model.shape));
  model.tokenizer = EBB_TRY(model.files->tokenizer());
  model.chat_template = EBB_TRY(model.files->chat_template());
  model.stop_tokens =
      coordinator::model_stop_tokens(*model.tokenizer, model.files->generation_defaults());
  model.name = model.shape.name.empty() ? std::filesystem::path(options.model).stem().string()
                                        : model.shape.name;
  return model;
}

Result<std::unique_ptr<LocalGroup>> LocalGroup::start(const LocalModel& model,
                                                      const LocalBackendOptions& options) {
  std::unique_ptr<LocalGroup> group(new LocalGroup(model));
  std::promise<Result<void>> done;
  group->loop_.post([&] { done.set_value(group->start_here(options)); });
  EBB_TRY_VOID(done.get_future().get());
  return group;
}

LocalGroup::~LocalGroup() {
  std::promise<void> done;
  loop_.post([&] {
    engine_.reset();
    done.set_value();
  });
  done.get_future().wait();
}

Result<void> LocalGroup::start_here(const LocalBackendOptions& options) {
  // 1. What requests are checked against: a cluster's defaults.
  const ClusterConfig config;
  const models::ModelShape& shape = model_.shape;
  rules_.shape = shape;
  rules_.profile = model_.profile;
  rules_.has_controller = model_.controller != nullptr;
  rules_.max_model_len = options.max_model_len != 0 ? options.max_model_len : shape.context_length;
  rules_.chunk_tokens = config.coordinator.chunk_tokens;
  // 2. An arena that one sequence of the model's context fits in, with a quarter more for what
  // policies keep beside the rows: digests, sums.
  const uint32_t granule = config.worker.granule_tokens;
  layout_ = EBB_TRY(models::make_layout(shape, model_.profile.bands(), 1, granule));
  const uint64_t tokens = (uint64_t{rules_.max_model_len} + granule - 1) / granule * granule;
  device_kv_bytes_ = tokens * shape.layers * layout_.row_bytes_all() / 4 * 5;
  arena_ = EBB_TRY(
      coordinator::make_arena_model(layout_, model_.profile, device_kv_bytes_, shape.width));
  // 3. The rank.
  WorkerConfig device;
  device.backend = options.device;
  device.decode_threads = device.bulk_threads = options.threads;
  worker::EngineOptions engine;
  engine.group = "g0";
  engine.controller = model_.controller;
  engine.rows_max = std::max(config.coordinator.chunk_tokens, config.coordinator.max_num_seqs);
  auto chosen = EBB_TRY(worker::choose_backend(device, 1, 0));
  if (!chosen.note.empty())
    log_warn("score", "--device auto: the CPU computes", {{"why", chosen.note}});
  engine_ = EBB_TRY(worker::Engine::make(engine, std::move(chosen.backend), *model_.files, shape,
                                         nullptr, metrics_));
  exchange_ = std::make_unique<LoneExchange>();
  return form();
}

Result<void> LocalGroup::form() {
  control::FormGroup group;
  group.epoch = Epoch{++epoch_};
  group.profile_yaml = models::print_selection_profile(model_.profile);
  group.granule_tokens = layout_.granule_tokens;
  group.device_kv_bytes = device_kv_bytes_;
  group.max_model_len = rules_.max_model_len;
  EBB_TRY_VOID(engine_->form(group, nobody_to_meet(), *exchange_));
  return {};
}

Result<LocalRun> LocalGroup::run(coordinator::GenerateRequest request,
                                 worker::StepObserver* observer) {
  std::promise<Result<LocalRun>> done;
  loop_.post([&] {
    engine_->observe(observer);
    auto ran = run_here(std::move(request));
    engine_->observe(nullptr);
    // Whatever a run that went wrong has left open goes with its incarnation.
    const auto formed = ran ? Result<void>() : form();
    done.set_value(formed ? std::move(ran) : Result<LocalRun>(formed.error()));
  });
  return done.get_future().get();
}

Result<LocalRun> LocalGroup::run_here(coordinator::GenerateRequest request) {
  auto checked = EBB_TRY(coordinator::check_request(rules_, arena_, std::move(request)));
  coordinator::SchedulerLimits limits;
  limits.chunk_tokens = rules_.chunk_tokens;
  Scheduler scheduler(arena_, limits);
  EBB_TRY_VOID(scheduler.submit(SeqId{++sequence_}, std::move(checked), Clock::now()));
  LocalRun out;
  Collector collect{out, {}};
  while (auto unit = scheduler.next(Clock::now())) {
    const auto outcome = EBB_TRY(run_unit(*std::move(unit), out));
    for (coordinator::Event& event : scheduler.finish(outcome, Clock::now()))
      std::visit(collect, event);
  }
  if (collect.failed) return *collect.failed;
  return out;
}

Result<coordinator::UnitOutcome> LocalGroup::run_unit(control::Unit unit, LocalRun& out) {
  unit.epoch = Epoch{epoch_};
  unit.id = UnitId{++unit_};
  std::vector<control::UnitResult> results;
  results.push_back(EBB_TRY(engine_->run(unit)));
  for (const control::UnitFailure& failure : results[0].failures) {
    if (failure.seq.value == 0) return Error(failure.error);
  }
  if (unit.kind == control::UnitKind::kDecode) {
    for (const control::SequenceResult& result : results[0].sequences) {
      if (!result.prompt.empty()) out.forced_traces.push_back(result.trace);
    }
  }
  return coordinator::merge_results(layout_, results);
}

}  // namespace ebb::score
