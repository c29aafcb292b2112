// The accepting side: handshakes, requests in, replies out, peers that go away. Lives on the loop's
// thread. Knows nothing of UCX's calls, nor of what requests mean.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "transport/data/event_loop.h"
#include "transport/data/messenger.h"
#include "transport/data/ucx_endpoint.h"

namespace ebb::data {

/// Bytes of requests that were received and not yet answered; shared with responders, which may
/// outlive the server.
class InFlightBudget {
 public:
  explicit InFlightBudget(uint64_t max) : max_(max) {}
  bool take(uint64_t bytes);
  void give_back(uint64_t bytes) { used_ -= bytes; }
  uint64_t max() const { return max_; }

 private:
  const uint64_t max_;
  std::atomic<uint64_t> used_{0};
};

class Server {
 public:
  Server(std::shared_ptr<EventLoop> loop, const MessengerOptions& options, ServerHandlers handlers);
  ~Server();

  void accept(std::shared_ptr<UcxEndpoint> endpoint);
  /// Ends every connection; `closed` runs when no memory is touched any more. Once.
  void close(std::function<void()> closed);

 private:
  class Link;
  class Answer;

  void forget(uint64_t id);
  void finish_close();

  const std::shared_ptr<EventLoop> loop_;  ///< shared: responders post to it whenever they like
  const MessengerOptions options_;
  const ServerHandlers handlers_;
  const std::shared_ptr<InFlightBudget> budget_;
  uint64_t last_id_ = 0;
  /// shared: a link outlives its removal until drained
  std::unordered_map<uint64_t, std::shared_ptr<Link>> links_;
  bool closing_ = false;
  std::function<void()> closed_;
};

}  // namespace ebb::data
