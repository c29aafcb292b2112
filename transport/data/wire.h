// What stands on the wire before user headers and payloads: frames, and the hello that opens a
// connection. Bytes from outside are checked here. Knows nothing of UCX.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "transport/data/messenger.h"

namespace ebb::data::wire {

constexpr uint32_t kMagic = 0x44424245;  ///< "EBBD"
constexpr size_t kFrameBytes = 48;
constexpr size_t kHelloMax = 4 << 10;  ///< bytes of PeerIdentity::hello
constexpr size_t kNameMax = 256;       ///< bytes of a cluster token and of a node's name
constexpr size_t kErrorTextMax = 2 << 10;

enum class Kind : uint8_t {
  kHello = 1,    ///< client: user header is the encoded PeerIdentity
  kWelcome = 2,  ///< server: the hello was accepted
  kRequest = 3,  ///< client
  kReply = 4,    ///< server
  kError = 5,    ///< server: answers the hello (request 0) or a request; user header is the text
  kPing = 6,     ///< client
  kPong = 7,     ///< server
  /// Server: the payload of a reply whose head comes by itself, before or after it. No user header.
  kPayload = 8,
};

/// Fixed 48 bytes, little-endian, in every message: magic u32, version u32, kind u8, code u8,
/// operation u16, header_bytes u32, request u64, epoch u64, payload_bytes u64, apart_bytes u64.
/// The first eight bytes stay the same in every protocol version, so that versions can name each
/// other.
struct Frame {
  uint32_t version = kProtocolVersion;
  Kind kind = Kind::kPing;
  Code code = Code::kInternal;  ///< of kError
  uint16_t operation = 0;       ///< of kRequest
  uint32_t header_bytes = 0;    ///< at most kHeaderMax
  uint64_t request = 0;        ///< answers carry the number of their request; unique per connection
  Epoch epoch;                 ///< the client's, in both directions
  uint64_t payload_bytes = 0;  ///< at most kPayloadMax
  /// Payload that is no part of this message's body, at most kPayloadMax. Of kRequest: there is
  /// room for a reply's payload of so many bytes, and it shall come as a message of its own
  /// (kPayload); 0: in the reply. Of kReply: so many come, or came, as that.
  uint64_t apart_bytes = 0;
  uint64_t body_bytes() const { return header_bytes + payload_bytes; }
};

using FrameBytes = std::array<std::byte, kFrameBytes>;
FrameBytes encode(const Frame& frame);

/// `bytes` need not be aligned. Errors: kInvalid (too short, magic, an unknown kind, sizes over
/// their limits), kUnsupported for another version than ours, naming both.
Result<Frame> decode(std::span<const std::byte> bytes);

std::vector<std::byte> encode_identity(const PeerIdentity& identity);
/// Errors: kInvalid, naming the field.
Result<PeerIdentity> decode_identity(std::span<const std::byte> bytes);

/// "this side speaks protocol version 1, the peer speaks 2"
Error other_version(uint32_t theirs);

/// Compares without leaving early, so that the time taken says nothing about how much of a guess
/// was right.
bool same_token(const std::string& left, const std::string& right);

}  // namespace ebb::data::wire
