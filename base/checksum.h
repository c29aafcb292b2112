// CRC-32C for records and frames, SHA-256 (cut to 128 bits) for names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace ebb {

/// CRC-32C (Castagnoli), as in RFC 3720; continue a running sum by passing the previous result.
/// Uses the SSE4.2 instruction where present. Any thread.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t running = 0);

/// Incremental SHA-256; digest() cuts to 128 bits. Integers are added in little-endian order.
class DigestBuilder {
 public:
  DigestBuilder();
  ~DigestBuilder();
  DigestBuilder(const DigestBuilder&) = delete;
  DigestBuilder& operator=(const DigestBuilder&) = delete;
  DigestBuilder& add(std::span<const std::byte> bytes);
  DigestBuilder& add(std::string_view text);  ///< length first, so that fields cannot run together
  DigestBuilder& add_u64(uint64_t value);
  DigestBuilder& add(const Digest& digest);
  Digest digest();

 private:
  void* context_;
};

std::string to_hex(const Digest& digest);

}  // namespace ebb
