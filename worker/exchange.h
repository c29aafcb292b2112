// How a rank's candidates become the group's set. The engine waits here, at every anchor of every
// step.
#pragma once

#include "base/clock.h"
#include "transport/control/messages.h"

namespace ebb::worker {

/// `coordinator` exchange: the coordinator's selection board merges and fans out. Engine thread;
/// waits up to `by`.
class SelectionExchange {
 public:
  virtual ~SelectionExchange() = default;
  /// Errors: kTimeout, kUnavailable, kCancelled (the epoch is over).
  virtual Result<control::PublishReply> publish(control::PublishRequest request, Deadline by) = 0;
};

}  // namespace ebb::worker
