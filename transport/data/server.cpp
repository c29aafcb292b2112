#include "transport/data/server.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "transport/data/liveness.h"

namespace ebb::data {
namespace {

constexpr size_t kLinksMax = 1024;
/// Requests of one connection that are not answered yet, or whose answer is still being sent.
constexpr uint32_t kRequestsPerLinkMax = 4096;
/// Messages of one connection that UCX holds because the peer does not read. Twice that many
/// requests have been answered with "too many" by then: the peer is not one of ours.
constexpr uint32_t kTransfersPerLinkMax = 2 * kRequestsPerLinkMax;

std::vector<std::byte> text_bytes(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(),
          bytes.begin() + static_cast<ptrdiff_t>(std::min(bytes.size(), wire::kErrorTextMax))};
}

}  // namespace

bool InFlightBudget::take(uint64_t bytes) {
  uint64_t used = used_.load();
  do {
    if (bytes > max_ - std::min(used, max_)) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

/// One accepted connection.
class Server::Link final : public EndpointOwner, public std::enable_shared_from_this<Link> {
 public:
  Link(Server& server, uint64_t id, std::shared_ptr<UcxEndpoint> endpoint)
      : server_(server), id_(id), endpoint_(std::move(endpoint)), timer_(*server.loop_) {
    endpoint_->set_owner(this);
    heard_ = Clock::now();
    watch();
  }

  void on_message(Incoming& message) override;
  void on_broken(const std::string& why) override { drop(why); }
  /// Ends the connection. No-op after the first time.
  void drop(const std::string& why);
  /// `asked`: the request's frame.
  void answer(const wire::Frame& asked, Result<OutgoingReply> result);

 private:
  enum class State { kExpectHello, kOpen, kRefused, kDropped };

  void on_hello(const wire::Frame& frame, Incoming& message);
  void greet(PeerIdentity identity);
  void on_request(const wire::Frame& frame, Incoming& message);
  void dispatch(const wire::Frame& frame, IncomingRequest request);
  void refuse(const Error& error);
  void send_error(uint64_t request, const Error& error, UcxEndpoint::Done done);
  wire::Frame frame_of(wire::Kind kind, uint64_t request) const;
  void watch();

  Server& server_;
  const uint64_t id_;
  const std::shared_ptr<UcxEndpoint> endpoint_;
  EventLoop::Timer timer_;
  State state_ = State::kExpectHello;
  TimePoint heard_;
  std::shared_ptr<const PeerIdentity> peer_;
  uint32_t open_requests_ = 0;
};

/// Sees to it that a request is answered exactly once, and that its bytes are given back to the
/// budget.
class Server::Answer {
 public:
  Answer(std::shared_ptr<EventLoop> loop, std::weak_ptr<Link> link, const wire::Frame& asked,
         std::shared_ptr<InFlightBudget> budget)
      : loop_(std::move(loop)), link_(std::move(link)), asked_(asked), budget_(std::move(budget)) {}
  ~Answer() {
    if (!given_.load()) give(internal_error("the request was dropped without an answer"));
  }
  void give(Result<OutgoingReply> result) {
    EBB_CHECK(!given_.exchange(true));
    budget_->give_back(asked_.body_bytes());
    // Shared, because a task must be copyable and an answer should not be copied.
    auto shared = std::make_shared<Result<OutgoingReply>>(std::move(result));
    auto task = [link = link_, asked = asked_, shared] {
      if (const auto open = link.lock()) open->answer(asked, std::move(*shared));
    };
    if (loop_->on_this_thread()) return task();
    loop_->post(std::move(task));
  }

 private:
  const std::shared_ptr<EventLoop> loop_;
  const std::weak_ptr<Link> link_;
  const wire::Frame asked_;
  const std::shared_ptr<InFlightBudget> budget_;
  std::atomic<bool> given_{false};
};

wire::Frame Server::Link::frame_of(wire::Kind kind, uint64_t request) const {
  wire::Frame frame;
  frame.kind = kind;
  frame.request = request;
  if (peer_) frame.epoch = peer_->epoch;
  return frame;
}

void Server::Link::on_message(Incoming& message) {
  if (state_ == State::kRefused || state_ == State::kDropped) return;
  heard_ = Clock::now();
  const auto frame = wire::decode(message.frame());
  if (!frame) return refuse(frame.error());
  if (frame->body_bytes() != message.body_bytes()) {
    return refuse(invalid("the frame's sizes are not those of the message"));
  }
  if (state_ == State::kExpectHello) {
    if (frame->kind == wire::Kind::kHello) return on_hello(*frame, message);
    return refuse(invalid("the first message must be a hello"));
  }
  if (frame->epoch != peer_->epoch) return refuse(invalid("the epoch is not that of the hello"));
  switch (frame->kind) {
    case wire::Kind::kRequest:
      return on_request(*frame, message);
    case wire::Kind::kPing:
      return endpoint_->send(frame_of(wire::Kind::kPong, 0), {}, [](bool) {});
    default:
      return refuse(invalid("a message that only servers send"));
  }
}

void Server::Link::on_hello(const wire::Frame& frame, Incoming& message) {
  if (frame.payload_bytes != 0) return refuse(invalid("a hello has no payload"));
  auto bytes = std::make_shared<std::vector<std::byte>>(frame.header_bytes);
  message.take(*bytes, {}, [self = shared_from_this(), bytes](bool whole) {
    if (!whole || self->state_ != State::kExpectHello) return;
    auto identity = wire::decode_identity(*bytes);
    if (!identity) return self->refuse(identity.error());
    self->greet(std::move(*identity));
  });
}

void Server::Link::greet(PeerIdentity identity) {
  if (!wire::same_token(identity.cluster_token, server_.options_.cluster_token)) {
    return refuse(invalid("cluster_token of " + identity.node +
                          " is not this cluster's: both must be configured with the same one"));
  }
  if (server_.handlers_.on_hello) {
    auto accepted = server_.handlers_.on_hello(id_, identity);
    if (!accepted) return refuse(accepted.error());
  }
  peer_ = std::make_shared<const PeerIdentity>(std::move(identity));
  state_ = State::kOpen;
  endpoint_->send(frame_of(wire::Kind::kWelcome, 0), {}, [](bool) {});
}

void Server::Link::on_request(const wire::Frame& frame, Incoming& message) {
  if (endpoint_->transferring() >= kTransfersPerLinkMax) {
    return drop("the peer sends requests but reads no answers");
  }
  const auto ignore = [](bool) {};
  if (open_requests_ >= kRequestsPerLinkMax) {
    return send_error(frame.request,
                      exhausted("more than " + std::to_string(kRequestsPerLinkMax) +
                                " requests on one connection"),
                      ignore);
  }
  const auto budget = server_.budget_;
  if (!budget->take(frame.body_bytes())) {
    return send_error(frame.request,
                      exhausted("requests under way already hold " + format_bytes(budget->max())),
                      ignore);
  }
  ++open_requests_;
  auto request = std::make_shared<IncomingRequest>();
  request->connection = id_;
  request->peer = peer_;
  request->operation = frame.operation;
  request->header.resize(frame.header_bytes);
  request->payload.resize(frame.payload_bytes);
  message.take(request->header, request->payload,
               [self = shared_from_this(), frame, request, budget](bool whole) {
                 self->heard_ = Clock::now();
                 if (whole && self->state_ == State::kOpen) {
                   return self->dispatch(frame, std::move(*request));
                 }
                 budget->give_back(frame.body_bytes());
                 --self->open_requests_;
               });
}

void Server::Link::dispatch(const wire::Frame& frame, IncomingRequest request) {
  auto answer = std::make_shared<Answer>(server_.loop_, weak_from_this(), frame, server_.budget_);
  server_.handlers_.on_request(std::move(request), [answer](Result<OutgoingReply> result) {
    answer->give(std::move(result));
  });
}

void Server::Link::answer(const wire::Frame& asked, Result<OutgoingReply> result) {
  if (state_ != State::kOpen) return;
  const auto sent = [self = shared_from_this()](bool) { --self->open_requests_; };
  if (!result) return send_error(asked.request, result.error(), sent);
  uint64_t bytes = 0;
  for (const PayloadPart& part : result->payload) bytes += part.size();
  if (result->header.size() > kHeaderMax || bytes > kPayloadMax) {
    return send_error(
        asked.request,
        internal_error("the answer of " + format_bytes(bytes) + " is larger than a message may be"),
        sent);
  }
  wire::Frame frame = frame_of(wire::Kind::kReply, asked.request);
  UcxEndpoint::Body head, payload;
  head.header = std::move(result->header);
  payload.payload = std::move(result->payload);
  payload.keep_alive = std::move(result->keep_alive);
  if (asked.apart_bytes == 0 || bytes == 0) {
    payload.header = std::move(head.header);
    return endpoint_->send(frame, std::move(payload), sent);
  }
  if (bytes > asked.apart_bytes) {
    return send_error(
        asked.request,
        invalid("the reply's " + std::to_string(bytes) + " bytes do not fit the destination's " +
                std::to_string(asked.apart_bytes)),
        sent);
  }
  frame.apart_bytes = bytes;
  endpoint_->send(frame, std::move(head), [](bool) {});
  // Only so can UCX put it where the host does not reach.
  payload.way = UcxEndpoint::Way::kRendezvous;
  endpoint_->send(frame_of(wire::Kind::kPayload, asked.request), std::move(payload), sent);
}

void Server::Link::send_error(uint64_t request, const Error& error, UcxEndpoint::Done done) {
  wire::Frame frame = frame_of(wire::Kind::kError, request);
  frame.code = error.code;
  UcxEndpoint::Body body;
  body.header = text_bytes(error.message);
  endpoint_->send(frame, std::move(body), std::move(done));
}

/// Tells the peer why, and gives it time to read that; whatever it sends now is not looked at.
void Server::Link::refuse(const Error& error) {
  log_warn("data", "peer refused",
           {{"peer", peer_ ? peer_->node : "unknown"}, {"why", error.text()}});
  if (state_ == State::kOpen && server_.handlers_.on_disconnect) {
    server_.handlers_.on_disconnect(id_);
  }
  state_ = State::kRefused;
  send_error(0, error, [](bool) {});
  timer_.start(Clock::now() + server_.options_.handshake_deadline, [this] { drop("refused"); });
}

void Server::Link::drop(const std::string& why) {
  if (state_ == State::kDropped) return;
  const State before = std::exchange(state_, State::kDropped);
  timer_.cancel();
  if (before == State::kOpen) {
    log_info("data", "peer left", {{"peer", peer_->node}, {"why", why}});
    if (server_.handlers_.on_disconnect) server_.handlers_.on_disconnect(id_);
  }
  endpoint_->close([self = shared_from_this()] { self->server_.forget(self->id_); });
}

void Server::Link::watch() {
  const bool open = state_ == State::kOpen;
  const Millis patience =
      open ? silence_allowed(server_.options_.heartbeat, endpoint_->receiving() > 0)
           : server_.options_.handshake_deadline;
  if (Clock::now() - heard_ > patience) {
    return drop(open ? "no sign of life" : "no hello in time");
  }
  timer_.start(Clock::now() + server_.options_.heartbeat, [this] { watch(); });
}

Server::Server(std::shared_ptr<EventLoop> loop, const MessengerOptions& options,
               ServerHandlers handlers)
    : loop_(std::move(loop)),
      options_(options),
      handlers_(std::move(handlers)),
      budget_(std::make_shared<InFlightBudget>(options.in_flight_max)) {}

Server::~Server() { EBB_CHECK(links_.empty()); }

void Server::accept(std::shared_ptr<UcxEndpoint> endpoint) {
  const uint64_t id = ++last_id_;
  auto link = std::make_shared<Link>(*this, id, std::move(endpoint));
  links_[id] = link;
  if (closing_ || links_.size() > kLinksMax) link->drop("too many connections");
}

void Server::forget(uint64_t id) {
  links_.erase(id);
  finish_close();
}

void Server::close(std::function<void()> closed) {
  closing_ = true;
  closed_ = std::move(closed);
  std::vector<std::shared_ptr<Link>> links;
  for (const auto& [id, link] : links_) links.push_back(link);
  for (const auto& link : links) link->drop("this side ends");
  finish_close();
}

void Server::finish_close() {
  if (closing_ && links_.empty() && closed_) std::exchange(closed_, nullptr)();
}

}  // namespace ebb::data
