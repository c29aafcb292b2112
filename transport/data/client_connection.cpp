#include "transport/data/client_connection.h"

#include <algorithm>
#include <future>

#include "base/check.h"
#include "base/log.h"
#include "transport/data/liveness.h"

namespace ebb::data {
namespace {

constexpr Millis kBackoffFirst{50};
constexpr Millis kBackoffMax{1000};
constexpr size_t kRequestsMax = 16 << 10;  ///< of one connection, not yet completed

Result<void> check_limits(const Connection::Request& request) {
  if (request.header.size() > kHeaderMax) {
    return invalid("request header of " + format_bytes(request.header.size()) +
                   " is over the limit of " + format_bytes(kHeaderMax));
  }
  uint64_t bytes = 0;
  for (const PayloadPart& part : request.payload) bytes += part.size();
  if (bytes > kPayloadMax) {
    return invalid("request payload of " + format_bytes(bytes) + " is over the limit of " +
                   format_bytes(kPayloadMax));
  }
  return {};
}

}  // namespace

ClientConnection::ClientConnection(std::shared_ptr<EventLoop> loop, UcxWorker& worker,
                                   const MessengerOptions& options, ServerPlace server,
                                   PeerIdentity identity)
    : loop_(std::move(loop)),
      worker_(worker),
      options_(options),
      server_(std::move(server)),
      identity_(std::move(identity)),
      backoff_(kBackoffFirst),
      deadline_timer_(*loop_),
      link_timer_(*loop_),
      first_timer_(*loop_) {}

wire::Frame ClientConnection::frame_of(wire::Kind kind, uint64_t request) const {
  wire::Frame frame;
  frame.version = identity_.protocol_version;
  frame.kind = kind;
  frame.request = request;
  frame.epoch = identity_.epoch;
  return frame;
}

// --- Connecting

void ClientConnection::start(Deadline by, std::function<void(Result<void>)> first) {
  first_ = std::move(first);
  if (by.at != TimePoint::max()) {
    first_timer_.start(by.at, [this] {
      if (!last_error_) return report_first(timed_out("connecting " + where() + ": no answer"));
      report_first(unavailable("connecting " + where() + ": " + last_error_->message));
    });
  }
  attempt();
}

void ClientConnection::report_first(Result<void> result) {
  first_timer_.cancel();
  if (first_) std::exchange(first_, nullptr)(std::move(result));
}

void ClientConnection::attempt() {
  EBB_CHECK(state_ == State::kIdle && !shutting_down_);
  state_ = State::kConnecting;
  auto endpoint = worker_.connect(server_.address, this);
  if (!endpoint) {
    last_error_ = endpoint.error();
    return on_closed();
  }
  endpoint_ = std::move(*endpoint);
  heard_ = Clock::now();
  UcxEndpoint::Body body;
  body.header = wire::encode_identity(identity_);
  endpoint_->send(frame_of(wire::Kind::kHello, 0), std::move(body), [](bool) {});
  link_timer_.start(Clock::now() + options_.handshake_deadline, [this] {
    disconnect(timed_out("no answer to the hello in " +
                         std::to_string(options_.handshake_deadline.count()) + " ms"));
  });
}

void ClientConnection::on_welcome() {
  if (state_ != State::kConnecting) return;
  state_ = State::kReady;
  connected_ = true;
  backoff_ = kBackoffFirst;
  last_error_.reset();
  heartbeat();
  report_first({});
}

void ClientConnection::heartbeat() {
  const bool busy = endpoint_->transferring() > 0;
  if (Clock::now() - heard_ > silence_allowed(options_.heartbeat, busy)) {
    return disconnect(unavailable("no sign of life"));
  }
  endpoint_->send(frame_of(wire::Kind::kPing, 0), {}, [](bool) {});
  link_timer_.start(Clock::now() + options_.heartbeat, [this] { heartbeat(); });
}

/// Every request gets its outcome here; those that UCX still has memory of complete when it has let
/// go.
void ClientConnection::disconnect(const Error& why) {
  if (state_ != State::kConnecting && state_ != State::kReady) return;
  if (state_ == State::kReady && !shutting_down_) {
    log_warn("data", "connection lost", {{"server", server_.name.text()}, {"why", why.message}});
  }
  state_ = State::kClosing;
  connected_ = false;
  last_error_ = why;
  link_timer_.cancel();
  const Error lost = shutting_down_ ? cancelled("the connection " + where() + " was closed")
                                    : unavailable("connection " + where() + ": " + why.message);
  for (auto next = pending_.begin(); next != pending_.end();) settle(next++, lost);
  endpoint_->close([self = shared_from_this()] { self->on_closed(); });
}

void ClientConnection::on_closed() {
  EBB_CHECK(pending_.empty());
  endpoint_.reset();
  state_ = State::kIdle;
  if (shutting_down_) {
    for (auto& closed : std::exchange(closed_, {})) closed();
    return;
  }
  link_timer_.start(Clock::now() + backoff_, [this] { attempt(); });
  backoff_ = std::min(backoff_ * 2, kBackoffMax);
}

void ClientConnection::shut_down(std::function<void()> closed) {
  closed_.push_back(std::move(closed));
  shutting_down_ = true;
  first_ = nullptr;
  first_timer_.cancel();
  if (state_ == State::kClosing) return;
  if (state_ == State::kIdle) {
    link_timer_.cancel();
    return on_closed();
  }
  disconnect(cancelled("closed"));
}

// --- Requests

void ClientConnection::send(Connection::Request request, Done done) {
  // Shared, as the task must be copyable and neither of these should be copied.
  auto moved =
      std::make_shared<std::pair<Connection::Request, Done>>(std::move(request), std::move(done));
  const bool posted = loop_->post([self = shared_from_this(), moved] {
    self->begin(std::move(moved->first), std::move(moved->second));
  });
  if (!posted) moved->second(cancelled("the messenger has ended"));
}

void ClientConnection::begin(Connection::Request request, Done done) {
  if (shutting_down_) return done(cancelled("the connection " + where() + " was closed"));
  auto limits = check_limits(request);
  if (!limits) return done(limits.error());
  if (request.deadline.passed()) return done(timed_out("the deadline passed before sending"));
  if (state_ != State::kReady) {
    return done(unavailable("not connected " + where() + ": " +
                            (last_error_ ? last_error_->message : "connecting")));
  }
  if (request.destination.empty()) request.destination_memory = Memory::kHost;  // it is nobody's
  const bool to_device = request.destination_memory == Memory::kDevice;
  if (to_device && !worker_.takes_device_memory()) {
    return done(unsupported("UCX is given no device's memory here"));
  }
  if (pending_.size() >= kRequestsMax) {
    return done(exhausted(std::to_string(kRequestsMax) + " requests are under way " + where()));
  }
  const uint64_t id = ++last_request_;
  wire::Frame frame = frame_of(wire::Kind::kRequest, id);
  frame.operation = request.operation;
  if (to_device) frame.apart_bytes = std::min<uint64_t>(request.destination.size(), kPayloadMax);
  UcxEndpoint::Body body;
  body.header = std::move(request.header);
  body.payload = request.payload;
  Pending& pending = pending_[id];
  pending.request = std::move(request);
  pending.done = std::move(done);
  pending.is_sending = true;
  deadlines_.emplace(pending.request.deadline.at, id);
  arm_deadline();
  endpoint_->send(frame, std::move(body),
                  [self = shared_from_this(), id](bool ok) { self->on_sent(id, ok); });
}

void ClientConnection::settle(PendingMap::iterator pending, Result<Reply> outcome) {
  if (pending->second.outcome) return;
  pending->second.outcome = std::move(outcome);
  deadlines_.erase({pending->second.request.deadline.at, pending->first});
  complete_if_untouched(pending);
}

void ClientConnection::complete_if_untouched(PendingMap::iterator pending) {
  Pending& it = pending->second;
  if (!it.outcome || it.is_sending || it.is_receiving()) return;
  const Done done = std::move(it.done);
  Result<Reply> outcome = std::move(*it.outcome);
  pending_.erase(pending);
  done(std::move(outcome));
}

void ClientConnection::on_sent(uint64_t id, bool ok) {
  const auto pending = pending_.find(id);
  if (pending == pending_.end()) return;
  pending->second.is_sending = false;
  if (!ok && !pending->second.outcome) {
    return settle(pending, unavailable("connection " + where() + " was lost while sending"));
  }
  complete_if_untouched(pending);
}

void ClientConnection::on_message(Incoming& message) {
  const auto frame = wire::decode(message.frame());
  if (!frame) return disconnect(frame.error());
  if (frame->body_bytes() != message.body_bytes()) {
    return disconnect(invalid("the frame's sizes are not those of the message"));
  }
  heard_ = Clock::now();
  switch (frame->kind) {
    case wire::Kind::kWelcome:
      return on_welcome();
    case wire::Kind::kReply:
      return on_reply(*frame, message);
    case wire::Kind::kPayload:
      return on_payload(*frame, message);
    case wire::Kind::kError:
      return on_error(*frame, message);
    case wire::Kind::kPong:
      return;
    default:
      return disconnect(invalid("a message that only clients send"));
  }
}

void ClientConnection::on_reply(const wire::Frame& frame, Incoming& message) {
  const auto found = pending_.find(frame.request);
  // An answer that nobody waits for any more, or of another epoch, is dropped: UCX then tells the
  // sender.
  if (found == pending_.end() || frame.epoch != identity_.epoch) return;
  Pending& pending = found->second;
  if (pending.outcome) return;
  if (pending.head != Arriving::kAwaited) return disconnect(invalid("two replies to a request"));
  const bool to_device = pending.request.destination_memory == Memory::kDevice;
  if ((to_device ? frame.payload_bytes : frame.apart_bytes) > 0) {
    return disconnect(invalid("a reply whose payload does not come as it was asked for"));
  }
  if (!check_size(found, pending.apart, frame.payload_bytes + frame.apart_bytes)) return;
  pending.head = Arriving::kUnderWay;
  pending.expects_apart = frame.apart_bytes > 0;
  pending.header.resize(frame.header_bytes);
  message.take(pending.header, pending.request.destination.first(frame.payload_bytes),
               [self = shared_from_this(), id = frame.request](bool whole) {
                 self->on_received(id, &Pending::head, whole);
               });
}

void ClientConnection::on_payload(const wire::Frame& frame, Incoming& message) {
  if (frame.header_bytes != 0 || frame.payload_bytes == 0 || !message.is_rendezvous()) {
    return disconnect(invalid("a payload by itself that no server of this version sends"));
  }
  if (frame.request > last_request_) return disconnect(invalid("a payload of no request"));
  const auto found = pending_.find(frame.request);
  if (found == pending_.end() || frame.epoch != identity_.epoch) return;  // as on_reply
  Pending& pending = found->second;
  if (pending.outcome) return;
  if (pending.request.destination_memory != Memory::kDevice) {
    return disconnect(invalid("a payload by itself that was not asked for"));
  }
  if (pending.apart != Arriving::kAwaited) return disconnect(invalid("two payloads of a reply"));
  if (!check_size(found, pending.head, frame.payload_bytes)) return;
  pending.apart = Arriving::kUnderWay;
  message.take_to_device(pending.request.destination.first(frame.payload_bytes),
                         [self = shared_from_this(), id = frame.request](bool whole) {
                           self->on_received(id, &Pending::apart, whole);
                         });
}

/// Whether a reply's payload of that size may be taken: it fits, and is what the reply's `other`
/// message said, if that has come. Else the request, or the connection, has ended.
bool ClientConnection::check_size(PendingMap::iterator pending, Arriving other,
                                  uint64_t payload_bytes) {
  Pending& it = pending->second;
  if (other != Arriving::kAwaited && payload_bytes != it.payload_bytes) {
    disconnect(invalid("a reply's head and payload are not of one size"));
    return false;
  }
  if (payload_bytes > it.request.destination.size()) {
    settle(pending, invalid("the reply's " + std::to_string(payload_bytes) +
                            " bytes do not fit the destination's " +
                            std::to_string(it.request.destination.size())));
    return false;
  }
  it.payload_bytes = payload_bytes;
  return true;
}

void ClientConnection::on_received(uint64_t id, Arriving Pending::*message, bool whole) {
  const auto pending = pending_.find(id);
  EBB_CHECK(pending != pending_.end());
  Pending& it = pending->second;
  it.*message = Arriving::kThere;
  heard_ = Clock::now();
  if (it.outcome) return complete_if_untouched(pending);
  if (!whole) {
    return settle(pending, unavailable("connection " + where() + " was lost within the reply"));
  }
  if (it.is_whole()) settle(pending, Reply{std::move(it.header), it.payload_bytes});
}

void ClientConnection::on_error(const wire::Frame& frame, Incoming& message) {
  if (frame.payload_bytes != 0) return disconnect(invalid("an error message has no payload"));
  auto text = std::make_shared<std::vector<std::byte>>(frame.header_bytes);
  message.take(*text, {}, [self = shared_from_this(), frame, text](bool whole) {
    if (!whole) return;
    const Error error{frame.code, {reinterpret_cast<const char*>(text->data()), text->size()}};
    if (frame.request == 0) {
      if (self->state_ == State::kConnecting) self->report_first(error);
      return self->disconnect(error);
    }
    const auto pending = self->pending_.find(frame.request);
    if (pending != self->pending_.end()) self->settle(pending, error);
  });
}

// --- Deadlines

void ClientConnection::arm_deadline() {
  if (deadlines_.empty() || deadlines_.begin()->first == TimePoint::max()) {
    return deadline_timer_.cancel();
  }
  deadline_timer_.start(deadlines_.begin()->first, [this] { on_deadline(); });
}

void ClientConnection::on_deadline() {
  const auto keep = shared_from_this();  // completions may drop the last handle
  const TimePoint now = Clock::now();
  bool is_touched = false;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const auto pending = pending_.find(deadlines_.begin()->second);
    EBB_CHECK(pending != pending_.end());
    is_touched |= pending->second.is_sending || pending->second.is_receiving();
    settle(pending, timed_out("no answer from " + server_.name.text() + " in time"));
  }
  // The only way to get memory back from UCX early is to give up the connection.
  if (is_touched) disconnect(unavailable("given up for a request that was late"));
  arm_deadline();
}

// --- The user's handle

namespace {

class Handle final : public Connection {
 public:
  Handle(std::shared_ptr<ClientConnection> connection,
         std::function<void(ClientConnection*)> on_end)
      : connection_(std::move(connection)), on_end_(std::move(on_end)) {}

  ~Handle() override {
    auto ended = std::make_shared<std::promise<void>>();
    auto task = [connection = connection_, on_end = on_end_, ended] {
      connection->shut_down([connection, on_end, ended] {
        on_end(connection.get());
        ended->set_value();
      });
    };
    EventLoop& loop = connection_->loop();
    if (loop.post(task) && !loop.on_this_thread()) ended->get_future().wait();
  }
  void send(Request request, std::function<void(Result<Reply>)> done) override {
    connection_->send(std::move(request), std::move(done));
  }
  bool connected() const override { return connection_->connected(); }

 private:
  const std::shared_ptr<ClientConnection> connection_;
  const std::function<void(ClientConnection*)> on_end_;
};

}  // namespace

std::shared_ptr<Connection> make_handle(std::shared_ptr<ClientConnection> connection,
                                        std::function<void(ClientConnection*)> on_end) {
  return std::make_shared<Handle>(std::move(connection), std::move(on_end));
}

}  // namespace ebb::data
