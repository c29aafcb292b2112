// Sizes, durations and addresses as people write them, both ways. Knows nothing of configuration
// keys.
#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace ebb {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr std::array<Suffix, 10> kByteSuffixes{{{"", 1},
                                                {"B", 1},
                                                {"KiB", 1024.0},
                                                {"K", 1024.0},
                                                {"MiB", 1048576.0},
                                                {"M", 1048576.0},
                                                {"GiB", 1073741824.0},
                                                {"G", 1073741824.0},
                                                {"TiB", 1099511627776.0},
                                                {"T", 1099511627776.0}}};
constexpr std::array<Suffix, 5> kTimeSuffixes{
    {{"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}}};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// The beginning of `text` in quotes: it may be anything. (Appended piece by piece: GCC 12 takes
/// `"\"" + std::string(...)` for an overlapping copy when it optimises fully.)
std::string quoted(std::string_view text, size_t bytes_max) {
  std::string out(1, '"');
  out.append(text.substr(0, bytes_max));
  out += '"';
  return out;
}

/// Number, then a suffix of `suffixes`; below 2^63. Plain integers stay exact.
template <size_t N>
Result<uint64_t> parse_scaled(std::string_view text, const std::array<Suffix, N>& suffixes,
                              const char* expected) {
  const Error wrong = invalid(quoted(text, 64) + " is not " + expected);
  const std::string_view all = trimmed(text);
  if (all.empty() || all[0] < '0' || all[0] > '9') return wrong;
  double number = 0;
  const char* end = all.data() + all.size();
  const auto parsed = std::from_chars(all.data(), end, number, std::chars_format::fixed);
  if (parsed.ec != std::errc()) return wrong;
  const std::string_view unit = trimmed(all.substr(static_cast<size_t>(parsed.ptr - all.data())));
  for (const Suffix& suffix : suffixes) {
    if (suffix.text != unit) continue;
    uint64_t exact = 0;
    const auto whole = std::from_chars(all.data(), end, exact);
    const auto factor = static_cast<uint64_t>(suffix.factor);
    if (whole.ec == std::errc() && whole.ptr == parsed.ptr && exact <= INT64_MAX / factor)
      return exact * factor;
    const double scaled = number * suffix.factor;
    if (!(scaled < 9.2e18)) return invalid(quoted(text, 64) + " is too large");
    return static_cast<uint64_t>(std::llround(scaled));
  }
  return wrong;
}

}  // namespace

Result<uint64_t> parse_bytes(std::string_view text) {
  return parse_scaled(text, kByteSuffixes, "a size such as 4096, 96MiB or 1.5GiB");
}

Result<Millis> parse_duration(std::string_view text) {
  auto parsed = parse_scaled(text, kTimeSuffixes, "a duration such as 500ms, 3s or 2min");
  if (!parsed) return parsed.error();
  return Millis(static_cast<int64_t>(*parsed));
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 6> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < kKiB) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.95 would print as "1024.0".
  while (value >= 1023.95 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, kNames[unit]);
  return text;
}

std::string format_seconds(double seconds) {
  char text[48];
  if (!(seconds >= 0)) seconds = 0;
  if (seconds < 59.95) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
  }
  const double bounded = seconds < 1e15 ? seconds : 1e15;
  const auto whole = static_cast<long long>(std::llround(bounded));
  if (whole < 3600)
    std::snprintf(text, sizeof text, "%lld min %02lld s", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
  return text;
}

Result<HostPort> parse_host_port(std::string_view text) {
  const Error wrong =
      invalid(quoted(text, 128) + " is not an address such as 127.0.0.1:8000 or [::1]:8000");
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return wrong;  // an IPv6 address without brackets: which colon ends it is a guess
  if (host.empty() || host.size() > 253) return wrong;
  for (char c : host)
    if (c <= ' ' || c == '/' || c == '[' || c == ']' || c == '@' || c == 127) return wrong;
  uint32_t number = 0;
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || port.empty())
    return wrong;
  if (number > 65535) return invalid("port " + std::string(port) + " is above 65535");
  return HostPort{std::string(host), static_cast<uint16_t>(number)};
}

std::string HostPort::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  // Only dotted quads: "127.evil.example" is a name, not a loopback address.
  int parts[4];
  const char* p = host.data();
  const char* end = p + host.size();
  for (int i = 0; i < 4; ++i) {
    const auto parsed = std::from_chars(p, end, parts[i]);
    if (parsed.ec != std::errc() || parts[i] < 0 || parts[i] > 255) return false;
    p = parsed.ptr;
    if (i < 3 && (p == end || *p++ != '.')) return false;
  }
  return p == end && parts[0] == 127;
}

}  // namespace ebb
