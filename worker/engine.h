// A rank's engine: the one thread that touches device, model and collective. Runs the coordinator's
// units in the order in which they come; everything below it is called on this thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "kernels/cuda/plugin.h"
#include "models/adore_controller.h"
#include "models/model_files.h"
#include "transport/collective/collective.h"
#include "transport/data/messenger.h"
#include "worker/step.h"

namespace ebb::worker {

struct EngineOptions {
  std::string cluster_token;
  std::string group;
  uint32_t rank = 0;
  uint32_t ranks = 1;
  uint32_t rows_max = 512;  ///< of one bulk unit and of one decode step
  std::string listen_host = "127.0.0.1";
  const kernels::CudaPlugin* plugin = nullptr;  ///< whose backend it is; null: the CPU's
  /// Scores tokens, on the device where its backend can; null, and no scorer either: policies that
  /// score tokens are refused.
  std::shared_ptr<const models::AdoreController> controller;
  std::shared_ptr<const TokenScorer> scorer;  ///< instead of the controller, in tests
  Millis restore_deadline{3000};
  Millis exchange_deadline{3000};
  Millis collective_deadline{15000};
};

/// Every method but abort() belongs to the engine thread.
class Engine {
 public:
  /// Loads this rank's weights. `file` and `messenger` outlive the engine; `messenger` may be null
  /// (no stores).
  static Result<std::unique_ptr<Engine>> make(EngineOptions options, kernels::Backend backend,
                                              const models::ModelFiles& files,
                                              const models::ModelShape& shape,
                                              data::Messenger* messenger, Metrics& metrics);
  ~Engine();

  /// A new incarnation: drops every sequence, makes arena and collective, connects the store.
  Result<control::FormReply> form(const control::FormGroup& group,
                                  collective::Rendezvous rendezvous, SelectionExchange& exchange);
  /// The incarnation is over: drops every sequence.
  void disband();
  /// Any thread: ends a collective call in progress, so that the engine comes free.
  void abort(const std::string& why);

  /// Errors: kUnavailable (a unit of another epoch; no group formed), lost(). Failures of sequences
  /// are in the result.
  Result<control::UnitResult> run(const control::Unit& unit);
  /// Any thread: why the device can compute no more. Then the process must end: nothing on it can
  /// be trusted, and a new process is what gets it back.
  std::optional<Error> lost();
  /// Where restored records land: memory of the device, where UCX is given that. Any thread.
  kernels::MemoryKind landing() const { return landing_; }
  /// Errors: kNotFound.
  Result<control::SequenceMap> describe(SeqId seq);
  /// Tries the store again when forming could not reach it. Cheap when connected or none is
  /// configured.
  void connect_store(Deadline by);

  /// Shows what decode steps compute, from the next unit on; null: to nobody. It outlives its use.
  void observe(StepObserver* observer) { observer_ = observer; }

  std::string device_name() const { return backend_.device->info().name; }

 private:
  struct Incarnation;
  Engine(EngineOptions options, kernels::Backend backend, const models::ModelShape& shape,
         data::Messenger* messenger, Metrics& metrics);
  Result<void> make_scorer();
  /// Waits for the device; keeps its first error.
  Result<void> check_device();
  Result<void> run_unit(const control::Unit& unit, control::UnitResult& out);
  Result<void> open(const control::OpenUnit& unit, control::UnitResult& out);
  Result<void> bulk(const control::Unit& unit, control::UnitResult& out);
  Result<void> release(const control::ReleaseUnit& unit, control::UnitResult& out);
  Result<void> decode(const control::Unit& unit, control::UnitResult& out);
  Result<void> close(const control::CloseUnit& unit, control::UnitResult& out);
  Result<Sequence*> find(SeqId seq);
  control::SequenceMap map_of(Sequence& sequence);
  void count(const control::UnitResult& out);

  EngineOptions options_;
  kernels::MemoryKind landing_ = kernels::MemoryKind::kHost;
  kernels::Backend backend_;
  models::ModelShape shape_;
  RankShare share_;
  kernels::KvShape kv_shape_;
  std::shared_ptr<const TokenScorer> scorer_;
  data::Messenger* messenger_;
  Metrics& metrics_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<Arena> arena_;
  SamplingTools sampling_;
  StepObserver* observer_ = nullptr;
  std::unique_ptr<Incarnation> group_;
  std::mutex abort_mutex_;  ///< guards collective_ and lost_ against other threads
  std::optional<Error> lost_;
  std::shared_ptr<collective::Collective> collective_;
  uint64_t step_clock_ = 0;
  Counter& units_;
  Counter& released_;
  Counter& restored_host_;
  Counter& restored_ssd_;
  Gauge& arena_used_;
  Gauge& scores_used_;
};

}  // namespace ebb::worker
