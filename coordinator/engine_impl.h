// The engine: schedulers, groups, board and stores, wired on one loop. Everything that decides is
// elsewhere; here it meets threads, clocks and connections.
//
//   submit -> request_check -> Scheduler::submit
//   pump:  Scheduler::next -> every rank's WorkerLink::run -> unit_merge
//          -> Scheduler::finish -> sinks -> pump
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/metrics.h"
#include "base/task_loop.h"
#include "coordinator/board.h"
#include "coordinator/cluster.h"
#include "coordinator/engine.h"
#include "coordinator/engine_metrics.h"
#include "coordinator/kept_sequences.h"
#include "coordinator/rendezvous.h"
#include "coordinator/scheduler.h"
#include "coordinator/state_file.h"
#include "coordinator/store_watch.h"

namespace ebb::coordinator {

class EngineImpl final : public Engine {
 public:
  /// Listens for workers and connects to the stores. `metrics` outlives the engine; `vocabulary` is
  /// the packed token table (empty: no constraints). Errors:
  /// kInvalid (config and model contradict each other: names the key), kUnavailable (address in
  /// use, run_dir not writable), kCorrupt.
  static Result<std::unique_ptr<EngineImpl>> start(const ClusterConfig& config,
                                                   const models::ModelShape& shape,
                                                   const models::SelectionProfile& profile,
                                                   Metrics& metrics, std::string vocabulary = {});
  /// Requests that still run end with an error first.
  ~EngineImpl() override;

  Result<SeqId> submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override;
  void cancel(SeqId seq, FinishReason reason) override;
  EngineStatus status() override;
  std::vector<SequenceInfo> sequences() override;
  void describe(std::optional<SeqId> seq,
                std::function<void(Result<control::SequenceMap>)> answer) override;
  void granules(const std::string& store, control::GranuleQuery query,
                std::function<void(Result<control::GranulePage>)> answer) override;
  void drain(Deadline by) override;

  uint16_t control_port() const { return server_->port(); }
  /// The last merged sets of a sequence. Any thread.
  std::vector<StampedSet> recent_sets(SeqId seq) const { return board_.recent(seq); }

 private:
  /// The unit that runs, and which ranks have answered it.
  struct Running {
    UnitId id;
    Epoch epoch;
    control::UnitKind kind = control::UnitKind::kDecode;
    TimePoint started{};
    std::vector<std::optional<Result<control::UnitResult>>> answers;  ///< by rank
    bool failing = false;  ///< a rank has failed; the others have a moment to say why
  };
  struct Group {
    ArenaModel arena;
    models::KvLayout layout;
    std::unique_ptr<Scheduler> scheduler;
    std::optional<Running> running;
    uint64_t last_unit = 0;
    uint64_t arena_used = 0;
    uint64_t arena_max = 0;
  };
  /// A request that has not been closed yet.
  struct Live {
    size_t group = 0;
    // Shared with the HTTP side, which may let go of it first.
    std::shared_ptr<TokenSink> sink;
    SequenceInfo info;
    TimePoint submitted_at{};
    bool ended = false;
  };
  using MapAnswer = std::function<void(Result<control::SequenceMap>)>;

  EngineImpl(const ClusterConfig& config, RequestRules rules, std::vector<Group> groups,
             ClusterPlan plan, std::unique_ptr<StateFile> state, Metrics& metrics);
  Result<void> listen();
  control::CoordinatorHandlers handlers();

  // On the loop:
  Result<SeqId> submit_here(GenerateRequest request, std::shared_ptr<TokenSink> sink);
  std::optional<size_t> least_loaded_group() const;
  void pump(size_t group);
  void send(size_t group, const control::Unit& unit);
  void answered(size_t group, UnitId unit, Epoch epoch, uint32_t rank,
                Result<control::UnitResult> result);
  void unit_complete(size_t group);
  void unit_failed(size_t group);
  void lost(size_t group, const std::string& why);
  void deliver(Events events);
  void take(PromptScored& event);
  void take(TokenMade& event);
  void take(Finished& event);
  void take(Failed& event);
  void take(Closed& event);
  void end_all(const Error& error);
  EngineStatus status_here();
  std::vector<SequenceInfo> sequences_here();
  void describe_here(std::optional<SeqId> seq, MapAnswer answer);
  void describe_live(SeqId seq, size_t group, MapAnswer answer);
  SequenceInfo live_info(const Live& live) const;
  double progress_age() const;
  void refresh_metrics();
  /// Runs `task` on the loop and waits for what it returns; none when the loop does not answer in
  /// time.
  template <class T>
  std::optional<T> ask(Millis patience, std::function<T()> task);

  const ClusterConfig config_;
  const RequestRules rules_;
  std::unique_ptr<StateFile> state_;
  SelectionBoard board_;
  RendezvousBoard rendezvous_;
  EngineMetrics metrics_;
  TaskLoop loop_;

  // The loop's:
  Cluster cluster_;
  StoreWatch stores_;
  std::vector<Group> groups_;
  std::map<SeqId, Live> live_;
  KeptSequences kept_;
  bool draining_ = false;
  TimePoint progress_at_{};

  std::mutex drain_mutex_;
  std::condition_variable drained_;
  size_t live_count_ = 0;  ///< guarded by drain_mutex_

  std::unique_ptr<control::ControlServer> server_;
};

}  // namespace ebb::coordinator
