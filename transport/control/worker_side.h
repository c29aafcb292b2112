// A worker's end of the control connection. Cap'n Proto RPC on a KJ thread of its own, hidden here.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "transport/control/messages.h"

namespace ebb::control {

template <class T>
using Answer = std::function<void(Result<T>)>;  ///< call exactly once, from any thread

/// Called on the KJ thread; must not block.
struct WorkerHandlers {
  std::function<void(FormGroup, Answer<FormReply>)> on_form;
  /// the incarnation is over: abort what runs
  std::function<void(Epoch, std::string why)> on_disband;
  std::function<void(Unit, Answer<UnitResult>)> on_unit;
  std::function<void(SeqId, Answer<SequenceMap>)> on_describe;
  std::function<void(std::string why)> on_disconnect;  ///< last call ever made on these handlers
};

class CoordinatorLink {
 public:
  /// Connects and says hello. Errors: kUnavailable (nobody there), kTimeout, or the coordinator's
  /// refusal.
  static Result<std::unique_ptr<CoordinatorLink>> connect(const HostPort& coordinator,
                                                          WorkerHello hello,
                                                          WorkerHandlers handlers, Deadline by);
  virtual ~CoordinatorLink() = default;  ///< closes; joins the KJ thread

  /// Waits (never call on the KJ thread). Errors: kTimeout, kUnavailable, kCancelled (epoch over).
  virtual Result<PublishReply> publish(PublishRequest request, Deadline by) = 0;
  virtual Result<void> rendezvous_put(const std::string& key, const std::string& value) = 0;
  virtual Result<std::string> rendezvous_get(const std::string& key, Deadline by) = 0;
};

}  // namespace ebb::control
