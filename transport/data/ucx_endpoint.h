// One UCX endpoint: messages out, message bodies in, and an end that can always be waited for.
// Knows frames as opaque bytes; knows nothing of requests, of clients or of servers.
//
// The rule behind it: memory given to UCX stays UCX's until its callback ran, also after errors. So
// every transfer is counted, close() cancels them, and `closed` runs only when the last one has
// called back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/data/messenger.h"
#include "transport/data/wire.h"

struct ucp_ep;

namespace ebb::data {

class UcxWorker;
class UcxEndpoint;

/// A message that has arrived; valid during on_message only. Its body is dropped unless take() is
/// called.
class Incoming {
 public:
  virtual ~Incoming() = default;
  virtual std::span<const std::byte> frame() const = 0;  ///< unaligned
  virtual uint64_t body_bytes() const = 0;
  /// The body's first bytes go to `header`, the rest to `payload`; together they are exactly
  /// body_bytes() long. `done(whole)` runs once, perhaps before take() returns; until then both
  /// must stay valid.
  virtual void take(std::span<std::byte> header, std::span<std::byte> payload,
                    std::function<void(bool whole)> done) = 0;
  /// Whether the body is still with the sender: what take_to_device() asks for.
  virtual bool is_rendezvous() const = 0;
  /// The whole body goes to memory of the device, written by UCX; else as take().
  virtual void take_to_device(std::span<std::byte> payload,
                              std::function<void(bool whole)> done) = 0;
};

/// Who listens to an endpoint. Called on the loop's thread.
class EndpointOwner {
 public:
  virtual ~EndpointOwner() = default;
  virtual void on_message(Incoming& message) = 0;
  /// The connection is lost; close() is still to be called. At most once, and never after close().
  virtual void on_broken(const std::string& why) = 0;
};

/// All methods on the loop's thread.
class UcxEndpoint : public std::enable_shared_from_this<UcxEndpoint> {
 public:
  using Done = std::function<void(bool ok)>;
  /// kRendezvous: the receiver is always asked for a place first, however small the body.
  enum class Way { kBySize, kRendezvous };
  struct Body {
    std::vector<std::byte> header;
    std::vector<PayloadPart> payload;
    std::shared_ptr<void> keep_alive;  ///< released before `done` runs
    Way way = Way::kBySize;
  };

  ~UcxEndpoint();
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;

  void set_owner(EndpointOwner* owner) { owner_ = owner; }
  /// The frame goes out with its sizes filled in from `body`. `done` runs once, perhaps before
  /// send() returns, when nothing of `body` is read any more.
  void send(wire::Frame frame, Body body, Done done);
  /// The same with the frame's bytes as they are, whatever they say.
  void send_raw(const wire::FrameBytes& frame, Body body, Done done);
  /// Ends the connection at once; messages under way are lost on both sides. `closed` runs later,
  /// when no memory is touched any more. Once only.
  void close(std::function<void()> closed);
  bool is_closing() const { return closing_; }
  /// Bodies being received now, and all transfers.
  uint32_t receiving() const { return receiving_; }
  uint32_t transferring() const { return transferring_; }

 private:
  friend class UcxWorker;
  struct Transfer;
  class Arrival;
  struct RawMessage;

  explicit UcxEndpoint(UcxWorker& worker) : worker_(worker) {}
  /// Gives a message to the owner. False when its body was not taken, or is all there already.
  bool deliver(const RawMessage& message);
  void start_send(std::unique_ptr<Transfer> transfer, bool eager);
  void start_receive(std::unique_ptr<Transfer> transfer, void* descriptor);
  void finish(Transfer* transfer, int status);
  void close_now();
  void finish_close();
  void report_broken(int status);

  UcxWorker& worker_;
  ucp_ep* handle_ = nullptr;
  EndpointOwner* owner_ = nullptr;
  uint32_t transferring_ = 0;
  uint32_t receiving_ = 0;
  bool broken_ = false;
  bool closing_ = false;
  bool handle_closed_ = false;
  std::function<void()> closed_;
};

}  // namespace ebb::data
