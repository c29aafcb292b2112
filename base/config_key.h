// One configuration key as data: where its value lives, what it may be, and the sentence that
// explains it. Internal to the configuration files of base/; knows values, not which keys exist.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"

namespace ebb::config {

struct Bytes {
  uint64_t* value;
};
/// Where a key's value lives. A plain uint64_t is always a size.
using Slot = std::variant<std::string*, uint16_t*, uint32_t*, Bytes, Millis*, HostPort*>;

struct Key {
  std::string name;  ///< dotted: "coordinator.http_address", "groups.0.name"
  Slot slot;
  const char* sentence;
  uint64_t min = 0;  ///< of numbers, sizes (bytes) and durations (ms); both included
  uint64_t max = 0;
  const char* unit = "";               ///< of numbers: "tokens", "threads"
  std::vector<std::string> choices{};  ///< of texts and numbers; empty: no list
};

/// Reads `text` into the key's slot. Errors: kInvalid saying what was expected (no key name).
Result<void> assign(const Key& key, std::string_view text);
/// The value as the file would spell it, exact: `"info"`, 512, 96MiB, 3s.
std::string spell(const Key& key);
/// "text", "number", "size", "duration", "address".
const char* type_name(const Key& key);
/// "1 to 16 ranks", "one of dense, tidal"; empty: anything.
std::string limits_text(const Key& key);
/// `"` and `\` escaped, in quotes.
std::string quoted(std::string_view text);

}  // namespace ebb::config
