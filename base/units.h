// Sizes, durations and addresses as people write them: "96MiB", "1.5GiB", "4096"; "3s";
// "127.0.0.1:8000".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace ebb {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;

/// Accepts B, KiB, MiB, GiB, TiB (and K, M, G, T as the same powers of 1024). Errors: kInvalid.
Result<uint64_t> parse_bytes(std::string_view text);
/// Accepts ms, s, min, h; a plain number is milliseconds. Errors: kInvalid.
Result<Millis> parse_duration(std::string_view text);
/// "95.3 MiB"
std::string format_bytes(uint64_t bytes);
/// "1 h 05 min", "2 min 05 s", "3.4 s"
std::string format_seconds(double seconds);

struct HostPort {
  std::string host;
  uint16_t port = 0;
  std::string text() const;  ///< IPv6 hosts in brackets
  friend bool operator==(const HostPort&, const HostPort&) = default;
};
/// "127.0.0.1:8000", "[::1]:8000", "localhost:8000". Errors: kInvalid.
Result<HostPort> parse_host_port(std::string_view text);
/// True for 127.0.0.0/8, ::1 and "localhost".
bool is_loopback(std::string_view host);

}  // namespace ebb
