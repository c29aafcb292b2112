#include "base/config_key.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace ebb::config {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

std::string spell_bytes(uint64_t bytes) {
  constexpr const char* kNames[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kNames[unit];
}

std::string spell_duration(uint64_t ms) {
  return ms != 0 && ms % 1000 == 0 ? std::to_string(ms / 1000) + "s" : std::to_string(ms) + "ms";
}

std::string shown(std::string_view text) { return "\"" + std::string(text.substr(0, 80)) + "\""; }

Result<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return invalid("expected a whole number, found " + shown(text));
  return value;
}

Result<uint64_t> in_range(const Key& key, uint64_t value, std::string_view text) {
  const bool listed = key.choices.empty() || std::find(key.choices.begin(), key.choices.end(),
                                                       std::to_string(value)) != key.choices.end();
  if (value >= key.min && value <= key.max && listed) return value;
  return invalid("is " + std::string(text.substr(0, 80)) + ", allowed: " + limits_text(key));
}

Result<uint64_t> ranged(const Key& key, Result<uint64_t> parsed, std::string_view text) {
  if (!parsed) return parsed;
  return in_range(key, *parsed, text);
}

Result<void> assign_text(const Key& key, std::string& slot, std::string_view text) {
  if (text.size() > 4096) return invalid("is longer than 4096 bytes");
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20) return invalid("holds a control character");
  if (!key.choices.empty() &&
      std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end())
    return invalid("is " + shown(text) + ", allowed: " + limits_text(key));
  slot = text;
  return {};
}

template <class T>
Result<void> assign_number(const Key& key, T& slot, std::string_view text) {
  auto value = ranged(key, parse_number(text), text);
  if (!value) return value.error();
  slot = static_cast<T>(*value);
  return {};
}

}  // namespace

Result<void> assign(const Key& key, std::string_view text) {
  return std::visit(Overloaded{
                        [&](std::string* slot) { return assign_text(key, *slot, text); },
                        [&](uint16_t* slot) { return assign_number(key, *slot, text); },
                        [&](uint32_t* slot) { return assign_number(key, *slot, text); },
                        [&](Bytes slot) -> Result<void> {
                          auto value = ranged(key, parse_bytes(text), text);
                          if (!value) return value.error();
                          *slot.value = *value;
                          return {};
                        },
                        [&](Millis* slot) -> Result<void> {
                          auto parsed = parse_duration(text);
                          if (!parsed) return parsed.error();
                          auto value = in_range(key, static_cast<uint64_t>(parsed->count()), text);
                          if (!value) return value.error();
                          *slot = Millis(static_cast<int64_t>(*value));
                          return {};
                        },
                        [&](HostPort* slot) -> Result<void> {
                          auto value = parse_host_port(text);
                          if (!value) return value.error();
                          *slot = *value;
                          return {};
                        },
                    },
                    key.slot);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string spell(const Key& key) {
  return std::visit(
      Overloaded{
          [](std::string* slot) { return quoted(*slot); },
          [](uint16_t* slot) { return std::to_string(*slot); },
          [](uint32_t* slot) { return std::to_string(*slot); },
          [](Bytes slot) { return spell_bytes(*slot.value); },
          [](Millis* slot) { return spell_duration(static_cast<uint64_t>(slot->count())); },
          [](HostPort* slot) { return quoted(slot->text()); },
      },
      key.slot);
}

const char* type_name(const Key& key) {
  constexpr const char* kNames[] = {"text", "number", "number", "size", "duration", "address"};
  return kNames[key.slot.index()];
}

std::string limits_text(const Key& key) {
  if (!key.choices.empty()) {
    std::string out = "one of ";
    for (size_t i = 0; i < key.choices.size(); ++i) out += (i ? ", " : "") + key.choices[i];
    return out;
  }
  if (std::holds_alternative<Bytes>(key.slot))
    return spell_bytes(key.min) + " to " + spell_bytes(key.max);
  if (std::holds_alternative<Millis*>(key.slot))
    return spell_duration(key.min) + " to " + spell_duration(key.max);
  if (key.max == 0) return "";
  return std::to_string(key.min) + " to " + std::to_string(key.max) +
         (*key.unit ? std::string(" ") + key.unit : "");
}

}  // namespace ebb::config
