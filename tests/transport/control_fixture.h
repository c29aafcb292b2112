// A coordinator's control server and workers that tests can talk through, in one process, over real
// sockets.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "tests/transport/control_samples.h"
#include "transport/control/coordinator_side.h"
#include "transport/control/worker_side.h"

namespace ebb::control::test {

constexpr Millis kPatience{10000};

/// What came in, in order; take() waits for it.
template <class T>
class Mailbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  std::optional<T> take(Millis patience = kPatience) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [this] { return !values_.empty(); }))
      return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> values_;
};

struct Gone {
  std::shared_ptr<WorkerLink> link;
  std::string why;
};
struct Published {
  PublishRequest request;
  Answer<PublishReply> answer;
};
struct Wanted {
  std::string key;
  Answer<std::string> answer;
};

struct Coordinator {
  Mailbox<std::shared_ptr<WorkerLink>> joined;
  Mailbox<Gone> gone;
  Mailbox<Published> published;
  Mailbox<std::pair<std::string, std::string>> put;
  Mailbox<Wanted> wanted;
  std::optional<Error> refusal;  ///< set before workers come
  std::unique_ptr<ControlServer> server;

  explicit Coordinator(Millis heartbeat = Millis(1000)) {
    CoordinatorHandlers handlers;
    handlers.on_worker = [this](std::shared_ptr<WorkerLink> link) -> Result<void> {
      if (refusal) return *refusal;
      joined.put(std::move(link));
      return {};
    };
    handlers.on_worker_gone = [this](std::shared_ptr<WorkerLink> link, std::string why) {
      gone.put({std::move(link), std::move(why)});
    };
    handlers.on_publish = [this](PublishRequest request, Answer<PublishReply> answer) {
      published.put({std::move(request), std::move(answer)});
    };
    handlers.on_rendezvous_put = [this](std::string key, std::string value) {
      put.put({std::move(key), std::move(value)});
    };
    handlers.on_rendezvous_get = [this](std::string key, Answer<std::string> answer) {
      wanted.put({std::move(key), std::move(answer)});
    };
    auto listening = ControlServer::listen({"127.0.0.1", 0}, "a secret", heartbeat, handlers);
    EBB_CHECK(listening.has_value());
    server = std::move(*listening);
  }
  HostPort address() const { return {"127.0.0.1", server->port()}; }
};

struct Worker {
  Mailbox<std::pair<FormGroup, Answer<FormReply>>> forms;
  Mailbox<std::pair<Unit, Answer<UnitResult>>> units;
  Mailbox<std::pair<SeqId, Answer<SequenceMap>>> described;
  Mailbox<std::pair<Epoch, std::string>> disbanded;
  Mailbox<std::string> disconnected;

  Result<void> join(const HostPort& coordinator, WorkerHello hello = sample_hello(),
                    Deadline by = Deadline::after(kPatience)) {
    WorkerHandlers handlers;
    handlers.on_form = [this](FormGroup form, Answer<FormReply> answer) {
      forms.put({std::move(form), std::move(answer)});
    };
    handlers.on_unit = [this](Unit unit, Answer<UnitResult> answer) {
      units.put({std::move(unit), std::move(answer)});
    };
    handlers.on_describe = [this](SeqId seq, Answer<SequenceMap> answer) {
      described.put({seq, std::move(answer)});
    };
    handlers.on_disband = [this](Epoch epoch, std::string why) {
      disbanded.put({epoch, std::move(why)});
    };
    handlers.on_disconnect = [this](std::string why) { disconnected.put(std::move(why)); };
    auto connected = CoordinatorLink::connect(coordinator, std::move(hello), handlers, by);
    if (!connected) return connected.error();
    link = std::move(*connected);
    return {};
  }

  std::unique_ptr<CoordinatorLink> link;  // last: ends before what its handlers use
};

}  // namespace ebb::control::test
