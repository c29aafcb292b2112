// Bulk bytes between processes over UCX active messages: a request with payload, an answer with
// payload. The only library that includes UCX headers. Knows nothing of granules.
//
// One Messenger owns one UCX context and worker, progressed by one thread (Asio + UCX event fd).
// Every request has a deadline; a peer that does not answer is force-closed. Every message carries
// magic, protocol version and epoch; the first message on a connection is a handshake with the
// cluster token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "transport/data/ucx_memory.h"

namespace ebb::data {

constexpr uint32_t kProtocolVersion = 2;
constexpr uint64_t kPayloadMax = 64ull << 20;  ///< bytes of one message's payload
constexpr uint32_t kHeaderMax = 64 << 10;      ///< bytes of one message's user header

/// Who connects: presented in the handshake, checked by the server, attached to every request it
/// sees.
struct PeerIdentity {
  uint32_t protocol_version = kProtocolVersion;
  std::string cluster_token;
  std::string node;  ///< "g0/rank1", for messages and logs
  Epoch epoch;
  /// opaque to the messenger (the kvstore puts layout facts there); at most 4 KiB
  std::vector<std::byte> hello;
};

/// A piece of outgoing payload; must stay valid until the request's completion ran.
using PayloadPart = std::span<const std::byte>;

/// Whose memory bytes lie in: the host's, or that of a device which the host may not touch.
enum class Memory { kHost, kDevice };

struct Reply {
  std::vector<std::byte> header;
  uint64_t payload_bytes = 0;  ///< written to the request's destination
};

/// Client side: one connection to one server. All methods any thread. Completions run on the
/// messenger's thread, exactly once each, also after errors; they must not block.
class Connection {
 public:
  virtual ~Connection() = default;
  struct Request {
    uint16_t operation = 0;
    std::vector<std::byte> header;
    std::vector<PayloadPart> payload;  ///< sent gathered, in order
    /// where the reply's payload goes; a longer reply is an error (kInvalid)
    std::span<std::byte> destination;
    /// kDevice: the reply's payload travels by itself and UCX writes it there; the host does not
    /// touch it. Only where the messenger takes device memory (else kUnsupported).
    Memory destination_memory = Memory::kHost;
    Deadline deadline;
  };
  /// Errors through `done`: kTimeout, kUnavailable (peer gone; the connection then reconnects by
  /// itself, in the background, with backoff), or the Error that the server answered with. When
  /// `done` has run, neither payload nor destination is touched any more.
  virtual void send(Request request, std::function<void(Result<Reply>)> done) = 0;
  virtual bool connected() const = 0;
};

/// Server side. `on_hello` and `on_request` run on the messenger's thread and must not block.
struct IncomingRequest {
  uint64_t connection = 0;  ///< for grouping; unique per accepted connection
  std::shared_ptr<const PeerIdentity> peer;
  uint16_t operation = 0;
  std::vector<std::byte> header;
  std::vector<std::byte> payload;  ///< owned; 64-byte aligned start is not promised
};
struct OutgoingReply {
  std::vector<std::byte> header;
  std::vector<PayloadPart> payload;
  std::shared_ptr<void> keep_alive;  ///< released when the payload has been sent
};
/// Answers exactly once, from any thread.
using Responder = std::function<void(Result<OutgoingReply>)>;

struct ServerHandlers {
  /// Accept or refuse a peer; the error's text goes to the peer. Protocol version and cluster token
  /// were checked.
  std::function<Result<void>(uint64_t connection, const PeerIdentity&)> on_hello;
  std::function<void(IncomingRequest, Responder)> on_request;
  std::function<void(uint64_t connection)> on_disconnect;
};

/// Whether and as what UCX is given memory of a device.
enum class DeviceMemory {
  kNone,
  kAsCuda,  ///< where UCX reaches that, and somebody attaches a device
  kAsHost,  ///< for devices whose memory is the host's (an emulated one): tests
};

struct MessengerOptions {
  std::string name;           ///< of the thread: "data"
  std::string cluster_token;  ///< server side: what peers must present
  Millis handshake_deadline{3000};
  Millis heartbeat{500};  ///< per connection; four missed ones end it
  /// bytes of payload a server holds for requests not yet answered
  uint64_t in_flight_max = 512ull << 20;
  DeviceMemory device_memory = DeviceMemory::kAsCuda;
  /// Makes the device current in the calling thread, as UCX wants it for a GPU's memory: called
  /// once, on the messenger's thread, before UCX is opened there. Null, or an error: UCX is given
  /// no device's memory.
  std::function<Result<void>()> attach_device = nullptr;
};

class Messenger {
 public:
  /// Sets UCX's environment defaults (platform notes: reuse address, connect retries) without
  /// overriding the user's, and starts the thread. Errors: kUnavailable.
  static Result<std::unique_ptr<Messenger>> start(MessengerOptions options);
  virtual ~Messenger() = default;  ///< closes everything; completions run with kCancelled
  /// Errors: kUnavailable ("address already in use: 127.0.0.1:7500").
  virtual Result<void> listen(const HostPort& address, ServerHandlers handlers) = 0;
  /// The port that listen() bound (for port 0).
  virtual uint16_t port() const = 0;
  /// Waits for the first handshake up to `by`. Errors: kTimeout, kUnavailable, or the server's
  /// refusal (kUnsupported for another protocol version, naming both; kInvalid for a wrong cluster
  /// token).
  virtual Result<std::shared_ptr<Connection>> connect(const HostPort& address,
                                                      PeerIdentity identity, Deadline by) = 0;
  /// Whether a request's destination may be memory of the device. Never changes. Any thread.
  virtual bool takes_device_memory() const = 0;
  /// What UCX was found to reach; asked only where a device is attached, else the host's. Any
  /// thread.
  virtual UcxMemory reached_memory() const = 0;
};

}  // namespace ebb::data
