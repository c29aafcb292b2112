// A cluster of one rank in this process, for one request at a time: the coordinator's request check
// and scheduler say which units run, the worker's engine runs them, and the merge of one rank's
// candidates is the board's. Everything stays on the device; there is no store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/task_loop.h"
#include "coordinator/scheduler.h"
#include "models/adore_controller.h"
#include "models/model_files.h"
#include "score/local_backend.h"
#include "worker/engine.h"

namespace ebb::score {

/// What the model's files say.
struct LocalModel {
  std::unique_ptr<models::ModelFiles> files;
  models::ModelShape shape;
  models::SelectionProfile profile;
  /// Null: policy adore is not to be had.
  std::shared_ptr<const models::AdoreController> controller;
  std::unique_ptr<models::Tokenizer> tokenizer;
  std::unique_ptr<models::ChatTemplate> chat_template;  ///< null: the model has none
  std::vector<TokenId> stop_tokens;
  std::string name;  ///< as a service would call it
};
/// Errors: those of the model, the profile and the controller, with the option's name.
Result<LocalModel> open_local_model(const LocalBackendOptions& options);

/// What a request came to.
struct LocalRun {
  std::vector<control::TokenLogprob> scored;  ///< of prompt tokens, from decode_from on
  std::vector<control::TokenLogprob> tokens;  ///< generated
  std::vector<std::vector<control::SelectionTrace>> traces;  ///< by generated token
  std::vector<std::vector<control::SelectionTrace>>
      forced_traces;  ///< by scored token but the first
  coordinator::Usage usage;
};

/// Any thread, one call at a time; the engine has a thread of its own.
class LocalGroup {
 public:
  /// `model` outlives the group.
  static Result<std::unique_ptr<LocalGroup>> start(const LocalModel& model,
                                                   const LocalBackendOptions& options);
  ~LocalGroup();

  /// Errors: kInvalid, as the service would say it; what the engine says. `observer` may be null.
  Result<LocalRun> run(coordinator::GenerateRequest request, worker::StepObserver* observer);
  uint32_t max_model_len() const { return rules_.max_model_len; }

 private:
  explicit LocalGroup(const LocalModel& model) : model_(model), loop_("engine") {}
  Result<void> start_here(const LocalBackendOptions& options);
  Result<void> form();
  Result<LocalRun> run_here(coordinator::GenerateRequest request);
  Result<coordinator::UnitOutcome> run_unit(control::Unit unit, LocalRun& out);

  const LocalModel& model_;
  coordinator::RequestRules rules_;
  coordinator::ArenaModel arena_;
  models::KvLayout layout_;
  uint64_t device_kv_bytes_ = 0;
  std::unique_ptr<worker::SelectionExchange> exchange_;
  Metrics metrics_;
  uint64_t epoch_ = 0, unit_ = 0, sequence_ = 0;
  TaskLoop loop_;
  std::unique_ptr<worker::Engine> engine_;  ///< belongs to loop_
};

}  // namespace ebb::score
