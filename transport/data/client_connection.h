// The connecting side: one server's requests, their deadlines, and the way back after a loss.
// Lives on the loop's thread, but for the thin handle that users hold. Knows nothing of UCX's
// calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "transport/data/event_loop.h"
#include "transport/data/messenger.h"
#include "transport/data/ucx_endpoint.h"
#include "transport/data/ucx_worker.h"

namespace ebb::data {

struct ServerPlace {
  HostPort name;  ///< for messages
  SocketAddress address;
};

/// Shared by the user's handle, the messenger, and the callbacks under way. All methods on the
/// loop's thread unless they say otherwise.
class ClientConnection final : public EndpointOwner,
                               public std::enable_shared_from_this<ClientConnection> {
 public:
  using Done = std::function<void(Result<Reply>)>;

  ClientConnection(std::shared_ptr<EventLoop> loop, UcxWorker& worker,
                   const MessengerOptions& options, ServerPlace server, PeerIdentity identity);

  /// Tries until a handshake succeeds or is refused, or `by` passes; then `first` runs, once. Goes
  /// on trying after later losses.
  void start(Deadline by, std::function<void(Result<void>)> first);
  /// Any thread.
  void send(Connection::Request request, Done done);
  /// Any thread.
  bool connected() const { return connected_.load(); }
  /// Requests under way end with kCancelled; `closed` runs when no memory is touched any more. Any
  /// number of times.
  void shut_down(std::function<void()> closed);
  EventLoop& loop() { return *loop_; }

  void on_message(Incoming& message) override;
  void on_broken(const std::string& why) override { disconnect(unavailable(why)); }

 private:
  enum class State { kIdle, kConnecting, kReady, kClosing };
  /// How far a message of an answer is. A reply is one, or, to a device's memory, two: its head and
  /// its payload, in any order.
  enum class Arriving { kAwaited, kUnderWay, kThere };
  struct Pending {
    Connection::Request request;
    Done done;
    std::vector<std::byte> header;         ///< of the reply
    bool is_sending = false;               ///< UCX reads the payload
    Arriving head = Arriving::kAwaited;    ///< under way: UCX writes to header (and destination)
    Arriving apart = Arriving::kAwaited;   ///< under way: UCX writes to destination
    uint64_t payload_bytes = 0;            ///< as the first of the two says
    bool expects_apart = false;            ///< says the head
    std::optional<Result<Reply>> outcome;  ///< decided, waits only until UCX has let go
    bool is_receiving() const {
      return head == Arriving::kUnderWay || apart == Arriving::kUnderWay;
    }
    bool is_whole() const {
      return head == Arriving::kThere && (!expects_apart || apart == Arriving::kThere);
    }
  };
  using PendingMap = std::map<uint64_t, Pending>;

  void begin(Connection::Request request, Done done);
  void settle(PendingMap::iterator pending, Result<Reply> outcome);
  void complete_if_untouched(PendingMap::iterator pending);
  void on_sent(uint64_t id, bool ok);
  void on_reply(const wire::Frame& frame, Incoming& message);
  void on_payload(const wire::Frame& frame, Incoming& message);
  bool check_size(PendingMap::iterator pending, Arriving other, uint64_t payload_bytes);
  void on_received(uint64_t id, Arriving Pending::*message, bool whole);
  void on_error(const wire::Frame& frame, Incoming& message);
  void on_welcome();
  void on_deadline();
  void arm_deadline();

  void attempt();
  void disconnect(const Error& why);
  void on_closed();
  void report_first(Result<void> result);
  void heartbeat();
  wire::Frame frame_of(wire::Kind kind, uint64_t request) const;
  std::string where() const { return "to " + server_.name.text(); }

  const std::shared_ptr<EventLoop> loop_;  ///< first: timers below need it to the end
  UcxWorker& worker_;                      ///< not touched after shut_down
  const MessengerOptions options_;
  const ServerPlace server_;
  const PeerIdentity identity_;

  State state_ = State::kIdle;
  bool shutting_down_ = false;
  std::atomic<bool> connected_{false};
  std::shared_ptr<UcxEndpoint> endpoint_;
  TimePoint heard_;
  Millis backoff_;
  std::optional<Error> last_error_;
  Deadline first_by_;
  std::function<void(Result<void>)> first_;
  std::vector<std::function<void()>> closed_;

  uint64_t last_request_ = 0;
  PendingMap pending_;
  std::set<std::pair<TimePoint, uint64_t>> deadlines_;  ///< of requests without an outcome
  EventLoop::Timer deadline_timer_;
  EventLoop::Timer link_timer_;  ///< handshake, heartbeat or the next attempt, by state
  EventLoop::Timer first_timer_;
};

/// What users hold. Its end is the connection's: it waits until nothing of the user's memory is
/// touched any more, unless it ends on the messenger's own thread.
std::shared_ptr<Connection> make_handle(std::shared_ptr<ClientConnection> connection,
                                        std::function<void(ClientConnection*)> on_end);

}  // namespace ebb::data
