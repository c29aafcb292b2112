// A worker's life: join the coordinator, serve units, and join again when the connection or the
// incarnation ends.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/task_loop.h"
#include "transport/control/worker_side.h"
#include "worker/engine.h"

namespace ebb::worker {

/// run() on the main thread; stop() and progress_age() from any.
class Session {
 public:
  struct Options {
    HostPort coordinator;
    control::WorkerHello hello;
    Millis connect_deadline{3000};
    Millis retry{500};
  };
  /// `engine_loop` is the engine's thread; both outlive the session.
  Session(Options options, Engine& engine, TaskLoop& engine_loop);
  ~Session();

  /// Returns when stopped, with the coordinator's refusal (kInvalid, kUnsupported: a person must
  /// act), or with Engine::lost().
  Result<void> run();
  void stop();

  bool formed() const { return formed_; }
  /// How long the unit in progress has been running; zero when idle.
  Millis progress_age() const;

 private:
  Result<void> serve_one_connection();
  control::WorkerHandlers handlers();
  void on_form(control::FormGroup group, control::Answer<control::FormReply> answer);
  void on_unit(control::Unit unit, control::Answer<control::UnitResult> answer);
  void over(const std::string& why);
  /// Engine thread, after the answer has gone out.
  void leave_if_lost();
  Result<void> ended();

  Options options_;
  Engine& engine_;
  TaskLoop& engine_loop_;
  std::unique_ptr<control::CoordinatorLink> link_;
  std::unique_ptr<SelectionExchange> exchange_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool disconnected_ = false;
  std::atomic<bool> closing_{false};  ///< the link is about to go: forms are refused
  std::atomic<bool> formed_{false};
  std::atomic<int64_t> unit_began_ms_{0};  ///< steady clock; 0: idle
};

}  // namespace ebb::worker
