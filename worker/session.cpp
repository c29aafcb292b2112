#include "worker/session.h"

#include <future>

#include "base/log.h"

namespace ebb::worker {
namespace {

int64_t now_ms() {
  return std::chrono::duration_cast<Millis>(Clock::now().time_since_epoch()).count();
}

class LinkExchange : public SelectionExchange {
 public:
  explicit LinkExchange(control::CoordinatorLink& link) : link_(link) {}
  Result<control::PublishReply> publish(control::PublishRequest request, Deadline by) override {
    return link_.publish(std::move(request), by);
  }

 private:
  control::CoordinatorLink& link_;
};

}  // namespace

Session::Session(Options options, Engine& engine, TaskLoop& engine_loop)
    : options_(std::move(options)), engine_(engine), engine_loop_(engine_loop) {}

Session::~Session() = default;

Millis Session::progress_age() const {
  const int64_t began = unit_began_ms_;
  return began == 0 ? Millis(0) : Millis(now_ms() - began);
}

void Session::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

Result<void> Session::run() {
  bool waiting_said = false;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (stopping_) return ended();
    }
    Result<void> served = serve_one_connection();
    if (!served) {
      const Code code = served.error().code;
      if (code == Code::kInvalid || code == Code::kUnsupported) return served;
      if (!waiting_said) {
        log_info("worker", "waiting for the coordinator",
                 {{"address", options_.coordinator.text()}, {"why", served.error().text()}});
      }
    }
    waiting_said = !served;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, options_.retry, [&] { return stopping_; });
  }
}

Result<void> Session::ended() {
  if (auto lost = engine_.lost()) return *std::move(lost);
  return {};
}

Result<void> Session::serve_one_connection() {
  {
    std::lock_guard lock(mutex_);
    disconnected_ = false;
  }
  // The handlers may be called before connect() has returned, and use the link: they wait for
  // `linked`.
  std::promise<void> linked;
  auto ready = linked.get_future().share();
  control::WorkerHandlers calls = handlers();
  calls.on_form = [this, ready](control::FormGroup group,
                                control::Answer<control::FormReply> answer) {
    const bool posted = engine_loop_.post([this, ready, group = std::move(group), answer] {
      ready.wait();
      on_form(group, answer);
    });
    if (!posted) answer(unavailable("the worker is stopping"));
  };
  auto link =
      control::CoordinatorLink::connect(options_.coordinator, options_.hello, std::move(calls),
                                        Deadline::after(options_.connect_deadline));
  if (!link) {
    linked.set_value();
    return std::move(link).error();
  }
  closing_ = false;
  link_ = std::move(*link);
  exchange_ = std::make_unique<LinkExchange>(*link_);
  linked.set_value();
  log_info("worker", "joined", {{"coordinator", options_.coordinator.text()}});
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || disconnected_; });
  }
  closing_ = true;
  over("the connection to the coordinator ended");
  // The engine may still be inside a task that uses the link.
  std::promise<void> idle;
  if (engine_loop_.post([&] {
        engine_.disband();
        idle.set_value();
      })) {
    idle.get_future().wait();
  }
  link_.reset();
  exchange_.reset();
  return {};
}

void Session::over(const std::string& why) {
  formed_ = false;
  engine_.abort(why);
}

control::WorkerHandlers Session::handlers() {
  control::WorkerHandlers calls;
  calls.on_disband = [this](Epoch epoch, std::string why) {
    log_warn("worker", "group disbanded", {{"epoch", epoch.value}, {"why", why}});
    over(why);
    engine_loop_.post([this] { engine_.disband(); });
  };
  calls.on_unit = [this](control::Unit unit, control::Answer<control::UnitResult> answer) {
    const bool posted =
        engine_loop_.post([this, unit = std::move(unit), answer] { on_unit(unit, answer); });
    if (!posted) answer(unavailable("the worker is stopping"));
  };
  calls.on_describe = [this](SeqId seq, control::Answer<control::SequenceMap> answer) {
    const bool posted = engine_loop_.post([this, seq, answer] { answer(engine_.describe(seq)); });
    if (!posted) answer(unavailable("the worker is stopping"));
  };
  calls.on_disconnect = [this](std::string why) {
    log_warn("worker", "disconnected", {{"why", why}});
    over(why);
    {
      std::lock_guard lock(mutex_);
      disconnected_ = true;
    }
    changed_.notify_all();
  };
  return calls;
}

void Session::on_form(control::FormGroup group, control::Answer<control::FormReply> answer) {
  if (!link_ || closing_) return answer(unavailable("the connection ended"));
  collective::Rendezvous rendezvous;
  rendezvous.put = [this](const std::string& key, const std::string& value) {
    return link_->rendezvous_put(key, value);
  };
  rendezvous.get = [this](const std::string& key, Deadline by) {
    return link_->rendezvous_get(key, by);
  };
  auto reply = engine_.form(group, std::move(rendezvous), *exchange_);
  formed_ = reply.has_value();
  answer(std::move(reply));
  leave_if_lost();
}

void Session::leave_if_lost() {
  if (!engine_.lost()) return;
  log_error("worker", "leaving: the device can compute no more", {{"why", engine_.lost()->text()}});
  stop();
}

void Session::on_unit(control::Unit unit, control::Answer<control::UnitResult> answer) {
  unit_began_ms_ = now_ms();
  auto result = engine_.run(unit);
  unit_began_ms_ = 0;
  answer(std::move(result));
  leave_if_lost();
}

}  // namespace ebb::worker
