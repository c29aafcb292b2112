#include "transport/data/event_loop.h"

#include <pthread.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"

namespace ebb::data {
namespace asio = boost::asio;

struct EventLoop::Impl {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::mutex mutex;
  bool stopped = false;  ///< guarded by mutex, so that no task is accepted after the last one ran
  std::thread thread;
};

EventLoop::EventLoop(const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->thread = std::thread([this, name = name.substr(0, 15)] {
    pthread_setname_np(pthread_self(), name.c_str());
    impl_->io.run();
  });
}

EventLoop::~EventLoop() { stop(); }

bool EventLoop::post(Task task) {
  std::lock_guard lock(impl_->mutex);
  if (impl_->stopped) return false;
  asio::post(impl_->io, std::move(task));
  return true;
}

bool EventLoop::on_this_thread() const {
  return impl_->thread.get_id() == std::this_thread::get_id();
}

void EventLoop::stop() {
  EBB_CHECK(!on_this_thread());
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->stopped) return;
    impl_->stopped = true;
    asio::post(impl_->io, [this] { impl_->io.stop(); });
  }
  impl_->thread.join();
}

struct EventLoop::Timer::Impl {
  explicit Impl(asio::io_context& io) : timer(io) {}
  asio::steady_timer timer;
  uint64_t turn = 0;  ///< a cancelled wait may already be queued; it then finds another turn
};

EventLoop::Timer::Timer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop.impl_->io)) {}
EventLoop::Timer::~Timer() { cancel(); }

void EventLoop::Timer::start(TimePoint at, Task task) {
  const uint64_t turn = ++impl_->turn;
  impl_->timer.expires_at(at);
  impl_->timer.async_wait(
      [impl = impl_, turn, task = std::move(task)](const boost::system::error_code& failed) {
        if (!failed && impl->turn == turn) task();
      });
}

void EventLoop::Timer::cancel() {
  ++impl_->turn;
  impl_->timer.cancel();
}

struct EventLoop::Readable::Impl {
  Impl(asio::io_context& io, int fd) : descriptor(io, fd) {}
  asio::posix::stream_descriptor descriptor;
  bool gone = false;
};

EventLoop::Readable::Readable(EventLoop& loop, int fd)
    : impl_(std::make_shared<Impl>(loop.impl_->io, ::dup(fd))) {}

EventLoop::Readable::~Readable() {
  impl_->gone = true;
  boost::system::error_code ignored;
  impl_->descriptor.close(ignored);
}

void EventLoop::Readable::wait(Task task) {
  impl_->descriptor.async_wait(
      asio::posix::stream_descriptor::wait_read,
      [impl = impl_, task = std::move(task)](const boost::system::error_code& failed) {
        if (!failed && !impl->gone) task();
      });
}

}  // namespace ebb::data
