#include "transport/data/wire.h"

#include <bit>
#include <cstring>

namespace ebb::data::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are copied as they are");

#pragma pack(push, 1)
struct RawFrame {
  uint32_t magic;
  uint32_t version;
  uint8_t kind;
  uint8_t code;
  uint16_t operation;
  uint32_t header_bytes;
  uint64_t request;
  uint64_t epoch;
  uint64_t payload_bytes;
  uint64_t apart_bytes;
};
#pragma pack(pop)
static_assert(sizeof(RawFrame) == kFrameBytes);

constexpr uint8_t kCodeLast = static_cast<uint8_t>(Code::kInternal);

void put_u32(std::vector<std::byte>& out, uint32_t value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
void put_u64(std::vector<std::byte>& out, uint64_t value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
void put_bytes(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  put_u32(out, static_cast<uint32_t>(bytes.size()));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  template <class T>
  bool number(T& value) {
    if (left_.size() < sizeof value) return false;
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return true;
  }
  bool bytes(std::span<const std::byte>& value, size_t max) {
    uint32_t size = 0;
    if (!number(size) || size > max || size > left_.size()) return false;
    value = left_.first(size);
    left_ = left_.subspan(size);
    return true;
  }
  bool empty() const { return left_.empty(); }

 private:
  std::span<const std::byte> left_;
};

std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

FrameBytes encode(const Frame& frame) {
  RawFrame raw{};
  raw.magic = kMagic;
  raw.version = frame.version;
  raw.kind = static_cast<uint8_t>(frame.kind);
  raw.code = static_cast<uint8_t>(frame.code);
  raw.operation = frame.operation;
  raw.header_bytes = frame.header_bytes;
  raw.request = frame.request;
  raw.epoch = frame.epoch.value;
  raw.payload_bytes = frame.payload_bytes;
  raw.apart_bytes = frame.apart_bytes;
  FrameBytes bytes;
  std::memcpy(bytes.data(), &raw, sizeof raw);
  return bytes;
}

Result<Frame> decode(std::span<const std::byte> bytes) {
  RawFrame raw{};
  if (bytes.size() < 8) return invalid("frame of " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&raw, bytes.data(), std::min(bytes.size(), sizeof raw));
  if (raw.magic != kMagic) return invalid("frame without our magic number");
  if (raw.version != kProtocolVersion) return other_version(raw.version);
  if (bytes.size() != kFrameBytes) {
    return invalid("frame of " + std::to_string(bytes.size()) + " bytes");
  }
  if (raw.kind < static_cast<uint8_t>(Kind::kHello) ||
      raw.kind > static_cast<uint8_t>(Kind::kPayload)) {
    return invalid("frame of unknown kind " + std::to_string(raw.kind));
  }
  if (raw.header_bytes > kHeaderMax) {
    return invalid("header of " + std::to_string(raw.header_bytes) +
                   " bytes is over the limit of " + std::to_string(kHeaderMax));
  }
  for (const uint64_t payload : {raw.payload_bytes, raw.apart_bytes}) {
    if (payload <= kPayloadMax) continue;
    return invalid("payload of " + std::to_string(payload) + " bytes is over the limit of " +
                   std::to_string(kPayloadMax));
  }
  Frame frame;
  frame.kind = static_cast<Kind>(raw.kind);
  frame.code = raw.code <= kCodeLast ? static_cast<Code>(raw.code) : Code::kInternal;
  frame.operation = raw.operation;
  frame.header_bytes = raw.header_bytes;
  frame.request = raw.request;
  frame.epoch = Epoch{raw.epoch};
  frame.payload_bytes = raw.payload_bytes;
  frame.apart_bytes = raw.apart_bytes;
  return frame;
}

std::vector<std::byte> encode_identity(const PeerIdentity& identity) {
  std::vector<std::byte> out;
  put_u64(out, identity.epoch.value);
  put_bytes(out, std::as_bytes(std::span(identity.cluster_token)));
  put_bytes(out, std::as_bytes(std::span(identity.node)));
  put_bytes(out, identity.hello);
  return out;
}

Result<PeerIdentity> decode_identity(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  PeerIdentity identity;
  std::span<const std::byte> token, node, hello;
  if (!reader.number(identity.epoch.value)) return invalid("hello: epoch is missing");
  if (!reader.bytes(token, kNameMax)) return invalid("hello: cluster token is cut or too long");
  if (!reader.bytes(node, kNameMax)) return invalid("hello: node name is cut or too long");
  if (!reader.bytes(hello, kHelloMax)) return invalid("hello: user bytes are cut or too long");
  if (!reader.empty()) return invalid("hello: bytes after the end");
  identity.cluster_token = to_text(token);
  identity.node = to_text(node);
  identity.hello.assign(hello.begin(), hello.end());
  return identity;
}

Error other_version(uint32_t theirs) {
  return unsupported("this side speaks protocol version " + std::to_string(kProtocolVersion) +
                     ", the peer speaks " + std::to_string(theirs));
}

bool same_token(const std::string& left, const std::string& right) {
  if (left.size() != right.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    difference |= static_cast<unsigned char>(left[i]) ^ static_cast<unsigned char>(right[i]);
  }
  return difference == 0;
}

}  // namespace ebb::data::wire
