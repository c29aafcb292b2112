// A KJ event loop on a thread of its own, and the way into it from every other thread. Internal to
// this folder.
//
// KJ objects belong to the thread of their loop: they are made, used and destroyed there. Other
// threads hand over closures through TaskQueue: a mutex, a deque and an eventfd that the loop
// watches. (kj::Executor would do, but its asynchronous half needs a KJ loop on the calling thread
// too.)
#pragma once

#include <kj/async-io.h>
#include <kj/async-unix.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/result.h"

namespace ebb::control {

/// Outlives the thread, so that late answers have somewhere harmless to go. All methods any thread.
class TaskQueue {
 public:
  TaskQueue();
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  /// False when the loop has ended or kTasksMax tasks wait; the task then never runs.
  bool post(std::function<void()> task);
  /// At once when called on the loop's thread, else post().
  bool run(std::function<void()> task);
  bool on_loop_thread() const;

 private:
  friend class KjThread;
  static constexpr size_t kTasksMax = 1 << 16;
  enum class Bound {
    kObey,
    kIgnore
  };  ///< starting and stopping must not fail because others posted much
  bool push(std::function<void()> task, Bound bound);
  void drain();
  void close();

  const int event_fd_;
  std::mutex mutex_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::atomic<std::thread::id> loop_thread_{};
};

class KjThread final : private kj::TaskSet::ErrorHandler {
 public:
  /// `name`: 15 characters at most.
  explicit KjThread(std::string name);
  /// Runs what was posted, then ends the loop. Everything that lives on the loop must be gone (see
  /// run_and_wait).
  ~KjThread();

  const std::shared_ptr<TaskQueue>& queue() const { return queue_; }
  /// Any thread but the loop's: runs `task` on the loop and waits for its end.
  void run_and_wait(std::function<void()> task);

  // On the loop's thread only:
  kj::AsyncIoContext& io() { return *io_; }
  kj::Timer& timer() { return io_->provider->getTimer(); }
  /// Runs to its end, or until the loop ends; an exception is logged.
  void spawn(kj::Promise<void> promise) { tasks_->add(kj::mv(promise)); }
  kj::Promise<void> after(Millis delay);
  /// Gives up `promise` when `by` has passed: it is then rejected with
  /// kj::Exception::Type::OVERLOADED.
  template <class T>
  kj::Promise<T> until(Deadline by, kj::Promise<T> promise) {
    return timer().timeoutAfter(bounded(by.left()), kj::mv(promise));
  }

 private:
  void loop();
  kj::Promise<void> watch(kj::UnixEventPort::FdObserver& observer);
  static kj::Duration bounded(Millis wait);
  void taskFailed(kj::Exception&& exception) override;

  const std::string name_;
  std::shared_ptr<TaskQueue> queue_;  // shared: answers that arrive after the end hold it
  kj::AsyncIoContext* io_ = nullptr;
  kj::TaskSet* tasks_ = nullptr;
  kj::Own<kj::PromiseFulfiller<void>> stop_;
  std::thread thread_;
};

/// What a failed RPC was, as one of ours: `doing` says what was tried.
Error to_error(const kj::Exception& exception, const std::string& doing);

/// A completion that is certain to be called: whoever drops the last copy without an answer answers
/// `dropped`.
template <class T>
class Once {
 public:
  Once(std::function<void(Result<T>)> answer, Error dropped)
      : state_(std::make_shared<State>(std::move(answer), std::move(dropped))) {}
  void operator()(Result<T> result) const {
    auto answer = std::exchange(state_->answer, nullptr);
    if (answer) answer(std::move(result));
  }

 private:
  // Shared between the two continuations of a promise, of which one runs.
  struct State {
    State(std::function<void(Result<T>)> a, Error d)
        : answer(std::move(a)), dropped(std::move(d)) {}
    ~State() {
      if (answer) answer(std::move(dropped));
    }
    std::function<void(Result<T>)> answer;
    Error dropped;
  };
  std::shared_ptr<State> state_;
};

/// Calls `start(answer)` and promises what `answer` is given, from whatever thread. On the loop's
/// thread only. An answer that comes after the promise was dropped is ignored.
template <class T, class Start>
kj::Promise<Result<T>> later(const std::shared_ptr<TaskQueue>& queue, Start&& start) {
  struct State {
    kj::Own<kj::PromiseFulfiller<Result<T>>> fulfiller;
  };
  auto paf = kj::newPromiseAndFulfiller<Result<T>>();
  // Owned by the promise, hence by the loop's thread; the answer only looks.
  auto state = std::make_shared<State>();
  state->fulfiller = kj::mv(paf.fulfiller);
  start(
      std::function<void(Result<T>)>([queue, weak = std::weak_ptr<State>(state)](Result<T> result) {
        queue->run([weak, result = std::move(result)]() mutable {
          if (auto alive = weak.lock()) alive->fulfiller->fulfill(std::move(result));
        });
      }));
  return paf.promise.attach(kj::mv(state));
}

}  // namespace ebb::control
