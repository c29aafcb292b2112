// The coordinator's ends of the control connections: a server for workers, a client for each store.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "transport/control/messages.h"

namespace ebb::control {

template <class T>
using Answer = std::function<void(Result<T>)>;  ///< called exactly once

/// One connected worker. All methods any thread; answers come on the KJ thread and must not block.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  virtual const WorkerHello& hello() const = 0;
  /// Errors of all three: kTimeout, kUnavailable (connection lost), or the worker's own.
  virtual void form(FormGroup request, Deadline by, Answer<FormReply> answer) = 0;
  virtual void run(Unit unit, Deadline by, Answer<UnitResult> answer) = 0;
  virtual void describe(SeqId seq, Deadline by, Answer<SequenceMap> answer) = 0;
  virtual void disband(Epoch epoch, std::string why) = 0;
  virtual void close() = 0;
};

/// Called on the KJ thread; must not block. `on_publish` and the rendezvous may answer later, from
/// any thread.
struct CoordinatorHandlers {
  /// Protocol version and cluster token were checked. An error refuses the worker with its text.
  std::function<Result<void>(std::shared_ptr<WorkerLink>)> on_worker;
  std::function<void(std::shared_ptr<WorkerLink>, std::string why)> on_worker_gone;
  std::function<void(PublishRequest, Answer<PublishReply>)> on_publish;
  std::function<void(std::string key, std::string value)> on_rendezvous_put;
  std::function<void(std::string key, Answer<std::string>)> on_rendezvous_get;
};

class ControlServer {
 public:
  /// Errors: kUnavailable ("address already in use: 127.0.0.1:7400"). Heartbeat: a worker that does
  /// not answer a ping within 5 intervals is gone.
  static Result<std::unique_ptr<ControlServer>> listen(const HostPort& address,
                                                       std::string cluster_token, Millis heartbeat,
                                                       CoordinatorHandlers handlers);
  virtual ~ControlServer() = default;
  virtual uint16_t port() const = 0;
};

/// A store as the coordinator sees it: connects and reconnects by itself.
class StoreLink {
 public:
  static std::unique_ptr<StoreLink> start(const HostPort& store_control, std::string cluster_token,
                                          Millis heartbeat);
  virtual ~StoreLink() = default;
  virtual bool connected() const = 0;
  /// Why not connected: refused, another protocol version, a wrong token.
  virtual std::string problem() const = 0;
  virtual void status(Deadline by, Answer<StoreStatus> answer) = 0;
  /// Errors of both: kTimeout, kUnavailable, or the store's own (list: kInvalid names the field).
  virtual void list(GranuleQuery query, Deadline by, Answer<GranulePage> answer) = 0;
};

}  // namespace ebb::control
