#include "transport/control/kj_thread.h"

#include <kj/debug.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "base/log.h"

namespace ebb::control {
namespace {

/// KJ writes to stderr by itself, about each connection that ends in an unusual way; that belongs
/// into our log.
class LogToOurs : public kj::ExceptionCallback {
 public:
  void logMessage(kj::LogSeverity, const char* file, int line, int, kj::String&& text) override {
    log_debug("control", "kj said",
              {{"at", std::string(file) + ":" + std::to_string(line)},
               {"text", std::string(text.begin(), text.size())}});
  }
};

}  // namespace

TaskQueue::TaskQueue() : event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  EBB_CHECK(event_fd_ >= 0);
}

TaskQueue::~TaskQueue() { ::close(event_fd_); }

bool TaskQueue::post(std::function<void()> task) { return push(std::move(task), Bound::kObey); }

bool TaskQueue::push(std::function<void()> task, Bound bound) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || (bound == Bound::kObey && tasks_.size() >= kTasksMax)) return false;
    tasks_.push_back(std::move(task));
  }
  const uint64_t one = 1;
  // A full counter means that the loop is awake anyway.
  [[maybe_unused]] const ssize_t written = ::write(event_fd_, &one, sizeof one);
  return true;
}

bool TaskQueue::run(std::function<void()> task) {
  if (!on_loop_thread()) return post(std::move(task));
  task();
  return true;
}

bool TaskQueue::on_loop_thread() const { return loop_thread_ == std::this_thread::get_id(); }

void TaskQueue::drain() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd_, &count, sizeof count);
  std::deque<std::function<void()>> ready;
  {
    const std::lock_guard lock(mutex_);
    ready.swap(tasks_);
  }
  for (auto& task : ready) {
    KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&task] { task(); })) {
      log_error("control", "task failed", {{"error", to_error(*exception, "task").message}});
    }
    task = nullptr;  // in order: what a task holds goes before the next one runs
  }
}

void TaskQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

KjThread::KjThread(std::string name)
    : name_(std::move(name)), queue_(std::make_shared<TaskQueue>()) {
  std::promise<void> started;
  thread_ = std::thread([this, &started] {
    pthread_setname_np(pthread_self(), name_.c_str());
    queue_->loop_thread_ = std::this_thread::get_id();
    queue_->post([&started] { started.set_value(); });
    loop();
    queue_->loop_thread_ = std::thread::id();
  });
  started.get_future().wait();
}

KjThread::~KjThread() {
  EBB_CHECK(!queue_->on_loop_thread());
  queue_->push([this] { stop_->fulfill(); }, TaskQueue::Bound::kIgnore);
  thread_.join();
}

void KjThread::loop() {
  LogToOurs log_to_ours;
  auto io = kj::setupAsyncIo();
  io_ = &io;
  kj::UnixEventPort::FdObserver observer(io.unixEventPort, queue_->event_fd_,
                                         kj::UnixEventPort::FdObserver::OBSERVE_READ);
  {
    kj::TaskSet tasks(*this);
    tasks_ = &tasks;
    auto stopped = kj::newPromiseAndFulfiller<void>();
    stop_ = kj::mv(stopped.fulfiller);
    watch(observer).exclusiveJoin(kj::mv(stopped.promise)).wait(io.waitScope);
    queue_->close();
    queue_->drain();
    stop_ = nullptr;
  }
  tasks_ = nullptr;
  io_ = nullptr;
}

kj::Promise<void> KjThread::watch(kj::UnixEventPort::FdObserver& observer) {
  // Edge-triggered: read the counter to zero first, then ask for the next edge.
  queue_->drain();
  return observer.whenBecomesReadable().then([this, &observer] { return watch(observer); });
}

void KjThread::run_and_wait(std::function<void()> task) {
  EBB_CHECK(!queue_->on_loop_thread());
  std::promise<void> done;
  const auto run = [&] {
    KJ_DEFER(done.set_value());
    task();
  };
  const bool posted = queue_->push(run, TaskQueue::Bound::kIgnore);
  EBB_CHECK(posted);
  done.get_future().wait();
}

kj::Promise<void> KjThread::after(Millis delay) { return timer().afterDelay(bounded(delay)); }

kj::Duration KjThread::bounded(Millis wait) {
  // "No deadline" is the end of time, which does not fit KJ's nanoseconds.
  constexpr Millis kLongest = std::chrono::hours(24);
  return std::clamp(wait, Millis(0), kLongest).count() * kj::MILLISECONDS;
}

void KjThread::taskFailed(kj::Exception&& exception) {
  log_debug("control", "background task ended", {{"error", to_error(exception, "task").message}});
}

Error to_error(const kj::Exception& exception, const std::string& doing) {
  const auto text = exception.getDescription();
  const std::string what = doing + ": " + std::string(text.begin(), text.size());
  switch (exception.getType()) {
    case kj::Exception::Type::DISCONNECTED:
      return unavailable(doing + ": connection lost");
    case kj::Exception::Type::OVERLOADED:
      return timed_out(doing + ": no answer before the deadline");
    case kj::Exception::Type::UNIMPLEMENTED:
      return unsupported(what);
    case kj::Exception::Type::FAILED:
      return internal_error(what);
  }
  return internal_error(what);
}

}  // namespace ebb::control
