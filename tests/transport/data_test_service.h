// A small service over the messenger, the same in the test and in the peer process.
#pragma once

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "transport/data/messenger.h"

namespace ebb::data::test {

enum Operation : uint16_t {
  kEcho = 1,     ///< the request's header and payload come back
  kProduce = 2,  ///< header: u64 bytes; the payload is that many bytes of pattern()
  kCount = 3,    ///< the answer's header is the payload's size, u64
  kSilence = 4,  ///< never answered
  kRefuse = 5,   ///< an Error kNotFound
  kDrop = 6,     ///< the responder is destroyed unused
};

inline std::byte pattern(uint64_t index) {
  return static_cast<std::byte>(index * 131 + index / 251);
}

inline std::vector<std::byte> pattern_bytes(uint64_t size) {
  std::vector<std::byte> bytes(size);
  for (uint64_t i = 0; i < size; ++i) bytes[i] = pattern(i);
  return bytes;
}

inline std::vector<std::byte> u64_bytes(std::initializer_list<uint64_t> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(uint64_t));
  std::memcpy(bytes.data(), values.begin(), bytes.size());
  return bytes;
}

inline uint64_t u64_at(const std::vector<std::byte>& bytes, size_t index) {
  uint64_t value = 0;
  if (bytes.size() >= (index + 1) * sizeof value) {
    std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  }
  return value;
}

/// What kProduce answers with; made before serving, as a handler must not block.
inline const std::vector<std::byte>& produce_bytes() {
  static const std::vector<std::byte> kBytes = pattern_bytes(32 << 20);
  return kBytes;
}

/// Responders that are never called must be kept somewhere.
struct Kept {
  std::mutex mutex;
  std::vector<Responder> responders;
};

inline void serve(const std::shared_ptr<Kept>& kept, IncomingRequest request, Responder respond) {
  OutgoingReply reply;
  switch (request.operation) {
    case kEcho: {
      auto bytes = std::make_shared<std::vector<std::byte>>(std::move(request.payload));
      reply.header = std::move(request.header);
      // In two parts, so that gathering is tested too.
      const std::span<const std::byte> all(*bytes);
      reply.payload = {all.first(all.size() / 3), all.subspan(all.size() / 3)};
      reply.keep_alive = bytes;
      return respond(std::move(reply));
    }
    case kProduce: {
      reply.payload = {std::span(produce_bytes()).first(u64_at(request.header, 0))};
      return respond(std::move(reply));
    }
    case kCount:
      reply.header = u64_bytes({request.payload.size()});
      return respond(std::move(reply));
    case kSilence: {
      std::lock_guard lock(kept->mutex);
      kept->responders.push_back(std::move(respond));
      return;
    }
    case kDrop:
      return;
    default:
      return respond(not_found("operation " + std::to_string(request.operation)));
  }
}

inline ServerHandlers handlers(const std::shared_ptr<Kept>& kept) {
  produce_bytes();
  ServerHandlers made;
  made.on_request = [kept](IncomingRequest request, Responder respond) {
    serve(kept, std::move(request), std::move(respond));
  };
  return made;
}

}  // namespace ebb::data::test
